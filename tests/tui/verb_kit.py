"""A verb of a test's own in the console: RECONNECT as it is declared, with other work and secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from console.clock import FixedClock
from console.operations import planner, service
from console.operations.outcome import TargetReceipt
from console.operations.reconnect import ReconnectParameters
from console.operations.registry import REGISTRY
from console.operations.secrets_wanted import SecretWanted
from console.operations.step import Step
from console.tui import operating
from console.tui.app import PooldeckApp
from tests.tui.driving import fake_service, recorded_app
from tests.tui.fakes import FakeFleet
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot

LINE = "reconnect edge-1a"
PHRASE = "edge-1a"


class Parameters(ReconnectParameters):
    secret_from: str = "prompt"
    old_from: str = ""


Secrets = Callable[[Parameters], tuple[SecretWanted, ...]]


def app_with(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    work: Callable[[Step], Awaitable[TargetReceipt]],
    *,
    secrets: Secrets | None = None,
    clock: FixedClock | None = None,
    ascii_only: bool = False,
) -> PooldeckApp:
    spec = replace(REGISTRY["reconnect"], carry_out=work, parameters=Parameters, secrets=secrets)
    registry = MappingProxyType({**REGISTRY, "reconnect": spec})
    for module in (planner, service, operating):
        monkeypatch.setattr(module, "REGISTRY", registry)
    picture = snapshot(environment="development")
    clock = clock or FixedClock(wall=WALL_S + 1, monotonic=MONOTONIC_S + 1)
    made = fake_service(picture, FakeFleet(), folder / "journal.jsonl", clock)
    return recorded_app(picture, service=made, clock=clock, ascii_only=ascii_only)
