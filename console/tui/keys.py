"""Every key and filter term in words: for the help of each screen. `docs/keys.md` is tested against it."""

from __future__ import annotations

EVERYWHERE: tuple[tuple[str, str], ...] = (
    (":", "command line; Tab completes, arrows recall"),
    ("?", "this help"),
    ("Esc", "back; first takes off the filter"),
    ("-", "the last view"),
    ("f", "freeze the numbers, and go on; FROZEN stands in the top line meanwhile"),
    ("l", "log"),
    ("o", "operations of this session: what runs, what is held, how they ended"),
    ("ctrl+p", "palette: every command by name"),
    ("q  ctrl+c", "leave Pooldeck; asks while an operation runs, and undoes it"),
)
TABLES: tuple[tuple[str, str], ...] = (
    ("Enter", "open: bouncer > its pools > details"),
    ("arrows  j k", "move; left and right scroll the columns that do not fit"),
    ("g G  PgUp PgDn", "first, last row; a page"),
    ("Tab", "the other table"),
    ("space", "mark and go on to the next row; ctrl+space marks the range, ctrl+\\ unmarks all"),
    ("/", "filter while you type, Enter keeps it, Esc takes it off"),
    ("z  ctrl+z", "only rows that need a look"),
    ("d  y", "details; the row as it was read"),
    ("x", "processes of the marked bouncers, or of the row's: how they are supervised; asks their hosts"),
    ("c", "copy the marked rows through the terminal (OSC 52)"),
    ("a", "action menu for the marked rows, or the row under the cursor"),
    ("P  R  L", "open the plan to pause, resume, reload; nothing happens before you confirm it"),
    ("M", "open the plan that ends pauses nobody alive owns (marked with !): the chosen, else all"),
    ("other capitals", "sort by the column that lists it below; again turns the order round"),
    ("<  >", "sort by the next column to the left, right"),
    ("0", "faults first, as at the start"),
)
PLAN: tuple[tuple[str, str], ...] = (
    ("typing", "goes to the phrase, where one is asked for; pasting it is refused"),
    ("Enter", "presses the focused button: Cancel, unless the plan is harmless and asks for nothing"),
    ("Tab", "the other button"),
    ("PgUp  PgDn", "scroll the plan; its numbers keep moving"),
    ("Esc", "back; nothing was sent"),
)
RUN: tuple[tuple[str, str], ...] = (
    ("arrows  j k", "move over the targets; the line above the keys has the detail in full"),
    ("a", "answer what the run asks, such as what becomes of clients that have not left a restart"),
    ("s", "the steps of the plan, where it has any"),
    ("e", "end the hold now: clients go on, as they would at its end"),
    ("ctrl+x", "stop after the current step, and undo what can be; again: now"),
    ("Esc", "back; it goes on, o finds it again"),
    ("PgUp  PgDn", "scroll the result"),
    ("Tab", "the events"),
)
RUNS: tuple[tuple[str, str], ...] = (("Enter", "open the run: its targets, events and result"),)
PROCESS: tuple[tuple[str, str], ...] = (
    ("r", "ask the hosts again"),
    ("j k  PgUp PgDn", "scroll"),
    ("c", "copy it all"),
)
LEASES: tuple[tuple[str, str], ...] = (
    ("Enter", "open the plan that resumes the target"),
    ("arrows  j k", "move"),
)
FILTERS: tuple[tuple[str, str], ...] = (
    ("db:app", "the column contains it; * and ? as in a shell; = for equal"),
    ("wait>5  use>=80", "by value: seconds (500ms, 2m), percent, counts (10k)"),
    ("@zone=a", "label of the bouncer"),
    ("paused faults waiting", "what a row is; also stale, unreachable"),
    ("!term", "not that"),
    ("edge-[12]", "anything else is a regular expression"),
)
