"""Does a report hold? One finding a limit, each with the figure in words."""

from __future__ import annotations

from dataclasses import dataclass

from tests.harness.clients.report import Figures, Report

STALL_S = 3.0
LOGIN = "connect: "
"""How the kind of a failure begins that a login met."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit and what was seen of it."""

    what: str
    figure: str
    limit: str
    ok: bool


def judge(
    report: Report,
    *,
    failed: int = 0,
    stall_s: float | None = STALL_S,
    closed_idle: int | None = 0,
    window: str | None = None,
    logins_apart: bool = False,
) -> tuple[Finding, ...]:
    """Hold a report against its limits; None: said, not judged.

    `failed` and a run without a single success are always judged. `stall_s` is the longest gap of any client,
    of the whole run or of one marked `window`. `logins_apart`: logins that were refused are no failures, and
    the stall is that of clients that keep their connection.
    """
    felt: Figures = report.total if window is None else report.window(window)
    if logins_apart and report.kept is not None:
        felt = report.kept
    refused = refused_logins(report) if logins_apart else 0
    failures = sum(report.total.failed.values()) - refused
    stall_ms = felt.stall_ms.max
    seen_s = float("inf") if stall_ms is None else stall_ms / 1_000
    idle = sum(report.total.lost_idle.values())
    starved = [number for number, done in report.done_by_client.items() if not done]
    found = [
        Finding("failed transactions", str(failures), f"{failed}", failures <= failed),
        Finding("clients without a success", str(len(starved)), "0", not starved),
    ]
    if stall_s is not None:
        found.append(Finding("longest stall", f"{seen_s:.2f} s", f"<= {stall_s:g} s", seen_s <= stall_s))
    if closed_idle is not None:
        found.append(
            Finding(
                "connections closed between transactions", str(idle), str(closed_idle), idle <= closed_idle
            )
        )
    return tuple(found)


def refused_logins(report: Report) -> int:
    """Return the transactions that failed because their login was answered with an error."""
    return sum(count for kind, count in report.total.failed.items() if kind.startswith(LOGIN))
