"""The keeper: a small process on a pooler's own host that ends one pause when its console is heard no more.

The entry of the program that `keepers` sends there; `keeper_wire`, `keeper_host` and `keeper_pooler` are its
other parts. Any Python from 3.6 on, standard library alone. It logs in before it detaches from SSH, then
waits for `renew`. When the last one's time is up it looks, and lifts the pause of its order if that is there.

It never lifts a later pause of somebody else's:

* Once told `held`, or once it saw the pause, a target that runs was resumed by somebody: it is over.
* Between two looks it may have been resumed and paused again. Then bytes went between clients and servers:
  `total_received` and `total_sent` do not move during a pause. `total_xact_count` and `total_query_count`
  do, by one for each waiting client that leaves or is cut (seen on 1.18.0, 1.24.1 and 1.26.1): with those a
  keeper would take its own pause for another's as soon as clients begin to suffer.
* After a lost session it must be the same process: see `keeper_pooler`.

Until its first `renew` a keeper does nothing, and then leaves no trace: a console that had no answer from it
goes on without it. SIGTERM has it lift at once, so where logind ends what a lost SSH session leaves behind
(KillUserProcesses=yes) clients are served early, not late. SIGHUP is ignored.
"""
# What ruff would have instead is newer than 3.6:
# ruff: noqa: UP006, UP035, UP045

import contextlib
import json
import os
import resource
import signal
import sys
import time
from typing import Any, Dict, List, Mapping, Optional

from console.operations.lease.keeper_host import (
    STATE,
    Folder,
    HostTrouble,
    collect,
    discard,
    several,
    status,
    tell,
)
from console.operations.lease.keeper_pooler import (
    ANOTHER_PROCESS,
    FAILED,
    NOT_PAUSED,
    RELEASED,
    RESUMED,
    Look,
    Over,
    Pooler,
    Stranger,
    start_ticks,
)
from console.operations.lease.keeper_wire import Refused, Trouble, clock

POLL_S = 0.2
LOOK_S = 1.0
"""How often the target is looked at while nothing is to be done."""
LOOK_LIMIT_S = 2.0
"""For one answer of such a look: the console is not heard meanwhile."""
CONFIRM_S = 30.0
"""For the first `renew`: it comes once all that are armed with it on this host have said how they fare."""
LATE_S = 1.5
"""How long after its console died a PAUSE may still arrive."""
LATE_POLL_S = 0.1
FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 5.0


class Keeper:
    """One order being kept. `begin`, then `tick` until it is `Over`."""

    def __init__(self, order: Mapping[str, Any], password: Optional[str]) -> None:
        self.order = order
        self.pooler = Pooler(order, password)
        self.confirmed = self.terminated = False
        self.ends_s = clock() + CONFIRM_S
        self.held = False
        self.held_bytes: Optional[int] = None
        """What its console saw carried when it was held; None: it did not say."""
        self.held_traffic: Optional[Dict[str, int]] = None
        """The same as seen here; None: not looked yet."""
        self.seen_paused = False
        self.seen: Optional[Look] = None
        self.trouble: Optional[str] = None
        """Why the last look or attempt came to nothing; None: it did not."""
        self._stranger = False
        self._sent = False
        """RESUME was sent: what is paused afterwards may be somebody else's."""
        self._answered = False
        self._refusal: Optional[str] = None
        self._owed: List[str] = []
        """Statements that put settings back and have not been answered."""
        self._look_at_s = 0.0
        self._retry_s = FIRST_RETRY_S
        self._gives_up_s: Optional[float] = None
        self._late_s: Optional[float] = None

    def begin(self) -> Dict[str, Any]:
        """Meet the pooler; return what the console is told of it."""
        self.seen = self.pooler.begin()
        self._look_at_s = clock() + LOOK_S
        return {"paused": self.seen.paused, "carried_bytes": self.pooler.carried_bytes(self.seen)}

    def hear(self, lines: List[str]) -> None:
        """Do what the console says."""
        for line in lines:
            word, _, value = line.partition(" ")
            if word == "renew":
                self.ends_s = clock() + float(value)
                self.confirmed = True
            elif word == "held" and not self.held:
                # Told again with every renewal: only the first time is the moment it became so.
                self.held, self.held_bytes = True, int(value) if value else None
                self._look_at_s = 0.0
            elif word == "release" and not self._sent:
                with contextlib.suppress(Trouble):
                    self._settle()
                raise Over(RELEASED, f"its console released it; it was not resumed here{self._debts()}")

    def tick(self) -> float:
        """Do what is due; return in how many seconds to come again.

        Raises:
            Over: there is nothing more to do.
        """
        now = clock()
        if now < self.ends_s and not self.terminated and not self._sent:
            self._gives_up_s = self._late_s = None
            if now >= self._look_at_s:
                self._glance()
            return POLL_S
        if not self.confirmed:
            raise Over(RELEASED, "no console ever confirmed it")
        if self._gives_up_s is None:
            self._gives_up_s = now + self.order["rescue_s"]
            self._retry_s, self._look_at_s = FIRST_RETRY_S, 0.0
        if now >= self._look_at_s:
            self._rescue()
        if clock() >= self._gives_up_s:
            raise Over(ANOTHER_PROCESS if self._stranger else FAILED, self._gave_up())
        return min(POLL_S, max(0.0, self._look_at_s - clock()))

    def state(self) -> Dict[str, Any]:
        """Return what a console may ask to see."""
        return {
            "ends_s": self.ends_s,
            "confirmed": self.confirmed,
            "lifting": self._gives_up_s is not None,
            "held": self.held,
            "paused": self.seen.paused if self.seen else None,
            "connected": self.pooler.connected,
            "trouble": self.trouble,
        }

    def _glance(self) -> None:
        self._look_at_s = clock() + LOOK_S
        try:
            self._judge(self.pooler.look(min(LOOK_LIMIT_S, self.order["query_timeout_s"]), sure=False))
        except Over:
            raise
        except Exception as error:
            self._note(error)
            self._look_at_s = clock() + self._next_retry_s()
        else:
            self.trouble, self._retry_s = None, FIRST_RETRY_S

    def _judge(self, seen: Look) -> None:
        """Find out whether what is seen still is the pause of the order, or no pause yet."""
        self.seen, self._stranger = seen, False
        if self._sent:
            return
        if self.held and self._served(seen):
            paused = "; it is paused again, and that pause is not ours" if seen.paused else ""
            raise Over(NOT_PAUSED, f"somebody resumed it: clients were served since it was held{paused}")
        if self.held:
            # A pool that is idle for long enough may be removed, with its counters (1.26).
            self.held_traffic = seen.traffic
        if seen.paused is False and (self.held or self.seen_paused):
            raise Over(NOT_PAUSED, "somebody resumed it")
        self.seen_paused = self.seen_paused or bool(seen.paused)

    def _served(self, seen: Look) -> bool:
        if self.held_traffic is not None:
            return self.pooler.served(self.held_traffic, seen)
        return self.held_bytes is not None and self.pooler.carried_bytes(seen) > self.held_bytes

    def _rescue(self) -> None:
        """Look, lift, and read back; whatever stands in the way is tried again later."""
        limit_s = self.order["query_timeout_s"]
        try:
            seen = self.pooler.look(limit_s, sure=True)
            self._settle()
            self._judge(seen)
            if self._sent:
                self._conclude(seen)
            elif seen.paused is False:
                self._wait_for_late_pause()
                return
            self._lift()
            self._conclude(self.pooler.look(limit_s, sure=True))
        except Over:
            raise
        except Exception as error:  # whatever it is, nobody else is there to try again
            self._note(error)
        self._look_at_s = clock() + self._next_retry_s()

    def _conclude(self, seen: Look) -> None:
        """Say what came of a RESUME that was sent, if that can be told."""
        self.seen = seen
        # What was held had its PAUSE answered, so none of ours can follow a RESUME that was answered.
        theirs = self.held and (self._answered or self._served(seen))
        if self._owed or (seen.paused and not theirs):
            return
        if self._refusal is not None:
            raise Over(NOT_PAUSED, f"somebody resumed it first: {self._refusal}")
        again = "; somebody has paused it again since, and that was left alone" if seen.paused else ""
        raise Over(RESUMED, f"its time was up, and its pause was lifted{again}")

    def _lift(self) -> None:
        statements = self.order["lift"]
        main = next(place for place, text in enumerate(statements) if text.startswith("RESUME"))
        # Owed before the first is sent: without an answer nobody knows whether the setting was changed.
        self._owed = list(statements[main + 1 :])
        try:
            for statement in statements[:main]:
                self.pooler.send(statement)
        except Refused:
            self._owed = []
        self._sent, self._refusal = True, None
        try:
            self.pooler.send(statements[main])
            self._answered = True
            if self._owed:
                self.pooler.warm_up()
        except Refused as refusal:
            self._refusal = str(refusal)
        finally:
            if self.pooler.connected:
                self._settle()
        self.trouble = self._refusal or "RESUME was answered, but it still is paused"

    def _settle(self) -> None:
        """Put back what was changed for the lift."""
        while self._owed:
            with contextlib.suppress(Refused):  # the answer is kept with the statement
                self.pooler.send(self._owed[0])
            self._owed.pop(0)

    def _wait_for_late_pause(self) -> None:
        self._look_at_s = clock() + LATE_POLL_S
        if self._late_s is None:
            self._late_s = clock() + LATE_S
        elif clock() >= self._late_s:
            raise Over(NOT_PAUSED, "it was not paused when its time was up, nor a moment later")

    def _next_retry_s(self) -> float:
        self._retry_s = min(LONGEST_RETRY_S, self._retry_s * 2)
        return self._retry_s

    def _note(self, error: Exception) -> None:
        self._stranger = isinstance(error, Stranger)
        self.trouble = str(error)
        if not isinstance(error, Refused):
            self.pooler.drop()

    def _gave_up(self) -> str:
        limit_s = self.order["rescue_s"]
        return f"it could not be resumed within {limit_s:g} s: {self.trouble}{self._debts()}"

    def _debts(self) -> str:
        return "; put back by hand: {}".format(", ".join(self._owed)) if self._owed else ""


def main(task: Mapping[str, Any]) -> None:
    """Carry out one task of the console's and answer with one line of JSON."""
    os.umask(0o077)
    found = several(task["tasks"], answer) if task["task"] == "several" else answer(task)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def answer(task: Mapping[str, Any]) -> Dict[str, Any]:
    """Carry out one task."""
    name = task["task"]
    if name == "arm":
        return arm(task["order"], task["password"])
    if name == "collect":
        return collect()
    if name == "status":
        return status(task["key"])
    if name == "tell":
        return tell(task["key"], task["lines"], task["wait_s"])
    return discard(task["keys"])


def arm(order: Mapping[str, Any], password: Optional[str]) -> Dict[str, Any]:
    """Start a keeper; return what the console is told. The keeper itself never returns from here."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")
    keeper = Keeper(order, password)
    folder: Optional[Folder] = None
    try:
        seen = keeper.begin()
        folder = Folder.make(order["key"])
        reader, writer = os.pipe()
    except Trouble as trouble:
        return {"error": str(trouble), "phase": trouble.phase}
    except (Refused, Over) as answer:
        return {"error": str(answer), "phase": "protocol"}
    except (HostTrouble, OSError) as error:
        return {"error": str(error), "phase": "ssh"}
    middle = os.fork()
    if middle == 0:
        _detach(keeper, folder, writer, seen)
    os.close(writer)
    os.waitpid(middle, 0)
    with open(reader, encoding="utf-8") as file:
        told = file.read()
    if not told:
        return {"error": "the keeper ended before it was ready", "phase": "ssh"}
    ready: Dict[str, Any] = json.loads(told)
    return ready


def _detach(keeper: Keeper, folder: Folder, writer: int, seen: Mapping[str, Any]) -> None:
    """Become a process that no SSH session waits for, say so, and keep the order; never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: setattr(keeper, "terminated", True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        _close_all_but((0, 1, 2, writer, folder.lock, keeper.pooler.descriptor()))
        pid = os.getpid()
        about = {
            "pid": pid,
            "lease_id": keeper.order["lease_id"],
            "bouncer": keeper.order["bouncer"],
            "database": keeper.order["database"],
            "armed_at_s": time.time(),
        }
        with contextlib.suppress(OSError, LookupError):
            about["start_ticks"] = start_ticks(pid)
        folder.write(STATE, dict(about, **keeper.state()))
        with open(writer, "w", encoding="utf-8") as file:
            file.write(json.dumps(dict(seen, ready=True, pid=pid, folder=folder.path)))
        keep(keeper, folder, about)
    finally:
        os._exit(0)


def keep(keeper: Keeper, folder: Folder, about: Mapping[str, Any]) -> None:
    """Keep an order to its end and leave the result in the folder."""
    written: Dict[str, Any] = {}
    try:
        while True:
            keeper.hear(folder.take_control())
            wait_s = keeper.tick()
            state = keeper.state()
            if state != written or folder.lost:
                folder.write(STATE, dict(about, **state))
                written = state
            time.sleep(wait_s)
    except Over as over:
        outcome, detail = over.outcome, str(over)
    except Exception as error:
        outcome, detail = FAILED, f"the keeper itself failed: {error!r}"
    if not keeper.confirmed:
        folder.remove()
        return
    result = {
        "outcome": outcome,
        "detail": detail,
        "ended_at_s": time.time(),
        "held": keeper.held,
        "exchanges": keeper.pooler.exchanges,
    }
    folder.finish(dict(about, **result))


def _close_all_but(kept: Any) -> None:
    try:
        found = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        found = list(range(256))
    for descriptor in found:
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)
