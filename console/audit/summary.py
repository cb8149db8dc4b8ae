"""A record in a few words, whatever its kind: who, how it ended, and what it was about.

Pure text for tables and lists; the caller takes control characters out. A kind or a field that this version
does not know is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from console.audit.reading import Record

UNKNOWN: Final = "?"
_TOLD_ELSEWHERE = frozenset(
    {"at", "kind", "who", "seq", "previous", "torn", "head_file", "run", "op", "target", "plan"}
)
_SENTENCES = ("detail", "text", "reason", "title")
"""Fields that say by themselves what a record is about, the fullest first."""


def when(record: Record) -> str:
    """Return when it was written, to the second, UTC: `2026-11-21 09:40:02`."""
    at_s = record.at_s
    if at_s is None:
        return UNKNOWN
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def who(record: Record) -> str:
    """Return the user, the caller of sudo in parentheses, and the address of the SSH client."""
    facts = record.who
    words = [_word(facts, "user") or UNKNOWN]
    if sudo_user := _word(facts, "sudo_user"):
        words.append(f"({sudo_user})")
    if ssh_client := _word(facts, "ssh_client"):
        words.append(ssh_client.partition(" ")[0])
    return " ".join(words)


def outcome(record: Record) -> str:
    """Return how it ended; for a record of something that did not end, its kind."""
    if record.flaw is not None:
        return UNKNOWN
    if record.kind == "outcome":
        return record.outcome or UNKNOWN
    return record.kind or UNKNOWN


def detail(record: Record) -> str:
    """Return what it was about, in one line."""
    if record.flaw is not None:
        return f"{record.flaw}: {record.text}"
    if record.kind == "intent":
        return _intent(record.fields)
    sentence = next((text for key in _SENTENCES if (text := _word(record.fields, key))), None)
    if sentence is None:
        return _remaining(record.fields)
    took_s = record.fields.get("duration_s")
    if record.kind == "outcome" and isinstance(took_s, int | float):
        return f"{sentence} ({took_s * 1_000:.0f} ms)" if took_s < 1 else f"{sentence} ({took_s:.1f} s)"
    return sentence


def _intent(fields: Mapping[str, Any]) -> str:
    statements = fields.get("statements")
    parts = ["; ".join(map(str, statements)) or "nothing to send"] if isinstance(statements, list) else []
    if before := _word(fields, "before"):
        parts.append(f"was {before}")
    clients = fields.get("clients")
    if isinstance(clients, int):
        parts.append("1 client" if clients == 1 else f"{clients:,} clients")
    if answer := _word(fields, "answer"):
        parts.append(answer)
    if reason := _word(fields, "reason"):
        parts.append(f"reason: {reason}")
    return ", ".join(parts) or _remaining(fields)


def _remaining(fields: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value}"
        for key, value in fields.items()
        if key not in _TOLD_ELSEWHERE and isinstance(value, str | int | float)
    )


def _word(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) and value else None
