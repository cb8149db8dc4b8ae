"""Short waits for tests that run many operations on fakes: what they wait for comes at once or never."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

SHORT = {
    "console.operations.reconnect.SETTLE_LIMIT_S": 0.1,
    "console.operations.reconnect.UNUSED_LIMIT_S": 0.05,
    "console.operations.resume.RESCUE_LIMIT_S": 0.2,
    "console.operations.kill.LATE_LIMIT_S": 0.05,
    "console.operations.ending.POLL_S": 0.02,
    "console.operations.ending.WATCH_ENDS_S": 0.1,
    "console.operations.ending.REFUSED_LIMIT_S": 0.2,
    "console.operations.kill_client.GONE_LIMIT_S": 0.1,
    "console.operations.shield.WARM_LIMIT_S": 0.1,
    "console.operations.sending.READ_BACK_LIMIT_S": 0.2,
    "console.operations.pausing.LATE_LIMIT_S": 0.05,
}


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Make every wait short."""
    with contextlib.ExitStack() as stack:
        for name, seconds in SHORT.items():
            stack.enter_context(patch(name, seconds))
        yield
