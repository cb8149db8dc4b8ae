"""Command line, log view, plan view and banner, by their keys and what they show."""

from __future__ import annotations

from collections.abc import Sequence

from tests.tui.apps.parts import PartApp, banners
from tests.tui.test_grid_keys import screen_text
from widgets.command_line import CommandLine, Completion, applied
from widgets.log_view import LogLine, LogView
from widgets.plan_view import PlanView, Section

COMMANDS = ("pause", "pools", "postgres", "reload", "resume")


def complete(text: str, cursor: int) -> Sequence[Completion]:
    word = text[:cursor].split(" ")[-1]
    return [Completion(name, f"what {name} does") for name in COMMANDS if name.startswith(word)]


def line_app() -> tuple[PartApp, CommandLine]:
    line = CommandLine(complete)
    return PartApp(line), line


async def test_what_is_typed_is_submitted_and_the_line_hides() -> None:
    app, line = line_app()
    async with app.run_test() as pilot:
        assert not line.is_open
        line.open(":")
        await pilot.press(*"pools", "space", "enter")
        await pilot.pause()
        (sent,) = app.of(CommandLine.Submitted)
        assert (sent.prefix, sent.text) == (":", "pools")
        assert not line.is_open
        assert [message.text for message in app.of(CommandLine.Changed)][:2] == ["p", "po"]


async def test_tab_goes_through_the_completions_and_typing_starts_anew() -> None:
    app, line = line_app()
    async with app.run_test() as pilot:
        line.open(":")
        await pilot.press("p", "tab")
        assert line.text == "pause"
        await pilot.press("tab")
        assert line.text == "pools"
        assert any("› pools" in text and "what pools does" in text for text in screen_text(app))
        await pilot.press("shift+tab", "shift+tab")
        assert line.text == "postgres"
        await pilot.press("tab", "space", "r", "tab", "tab", "tab")
        assert line.text == "pause reload"


async def test_the_best_completion_is_shown_ahead_and_taken_by_the_right_arrow() -> None:
    app, line = line_app()
    async with app.run_test() as pilot:
        line.open(":")
        await pilot.press(*"resu")
        await pilot.pause()
        assert line.ghost("resu") == "resume"
        await pilot.press("right")
        assert line.text == "resume"


async def test_history_is_by_prefix_and_keeps_the_draft() -> None:
    app, line = line_app()
    async with app.run_test() as pilot:
        for prefix, text in ((":", "pause"), ("/", "db"), (":", "reload"), (":", "reload")):
            line.open(prefix)
            await pilot.press(*text, "enter")
        line.open(":")
        await pilot.press("x", "up")
        assert line.text == "reload"
        await pilot.press("up", "up")
        assert line.text == "pause"
        await pilot.press("down", "down", "down")
        assert line.text == "x"


async def test_escape_cancels_and_says_what_stood_there() -> None:
    app, line = line_app()
    async with app.run_test() as pilot:
        line.open("/", "db:app")
        await pilot.press("escape")
        await pilot.pause()
        assert [(message.prefix, message.text) for message in app.of(CommandLine.Cancelled)] == [
            ("/", "db:app")
        ]
        assert not line.is_open
        assert app.of(CommandLine.Submitted) == []


async def test_the_focus_goes_back_to_where_it_was() -> None:
    line, first, second = CommandLine(complete), LogView(), LogView()
    app = PartApp(first, second, line)
    async with app.run_test() as pilot:
        second.focus()
        await pilot.pause()
        for end in ("escape", "enter"):
            line.open(":")
            await pilot.press("x", end)
            await pilot.pause()
            assert app.focused is second


async def test_while_typing_the_first_completions_are_listed_and_the_rest_counted() -> None:
    line = CommandLine(lambda _text, _cursor: [Completion(f"edge-{n}") for n in range(9)], ascii_only=True)
    app = PartApp(line)
    async with app.run_test(size=(40, 12)) as pilot:
        line.open(":")
        await pilot.press("e")
        await pilot.pause()
        lines = [text.strip() for text in screen_text(app)]
        assert "edge-5" in lines
        assert "edge-6" not in lines
        assert "and 3 more" in lines
        await pilot.press(*["tab"] * 8)
        lines = [text.strip() for text in screen_text(app)]
        assert "> edge-7" in lines
        assert "edge-1" not in lines


def test_a_completion_replaces_the_word_before_the_cursor_or_from_its_start() -> None:
    assert applied(Completion("edge-1a"), "pause ed x", 8) == ("pause edge-1a x", 13)
    assert applied(Completion("@zone=a", start=0), "zo", 2) == ("@zone=a", 7)


def record(number: int, level: str = "INFO", text: str = "") -> LogLine:
    return LogLine(f"12:00:{number % 60:02}", level, "collector", text or f"round {number}")  # type: ignore[arg-type]


async def test_the_log_follows_its_end_until_scrolled_back_and_is_bounded() -> None:
    log = LogView(limit=50)
    app = PartApp(log)
    for number in range(30):
        log.write(record(number))
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.pause()
        assert "round 29" in screen_text(app)[9]
        log.scroll_to(y=7, animate=False)
        await pilot.pause()
        assert "round 7" in screen_text(app)[0]
        for number in range(30, 55):
            log.write(record(number))
        await pilot.pause()
        assert "round 7" in screen_text(app)[0]
        assert (len(log.records), log.dropped) == (50, 5)
        log.scroll_end(animate=False)
        await pilot.pause()
        log.write(record(99))
        await pilot.pause()
        assert "round 99" in screen_text(app)[9]


async def test_levels_are_words_several_lines_are_kept_and_nothing_is_obeyed() -> None:
    log = LogView()
    app = PartApp(log)
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.pause()
        assert screen_text(app)[0] == "no log records"
        log.write(record(1, "ERROR", "lost\nedge-1a \x1b[2J"))
        log.write(record(2, "DEBUG"))
        await pilot.pause()
        assert screen_text(app)[:3] == [
            "12:00:01 ERROR   collector: lost",
            "12:00:01 ERROR   collector: edge-1a ?[2J",
            "12:00:02 DEBUG   collector: round 2",
        ]
        log.minimum_level = "WARNING"
        await pilot.pause()
        assert screen_text(app)[2] == ""
        log.clear()
        await pilot.pause()
        assert screen_text(app)[0] == "no log records"


async def test_a_plan_shows_every_statement_whole_and_scrolls() -> None:
    long = 'ALTER DATABASE "' + "x" * 70 + '" SET pool_size = 3'
    plan = PlanView(
        [
            Section("edge-1a", [("effect", "clients wait")], [long, "SHOW POOLS"], ["production"]),
            Section("edge-1b"),
        ]
    )
    app = PartApp(plan)
    async with app.run_test(size=(50, 12)) as pilot:
        await pilot.pause()
        lines = screen_text(app)
        text = "".join(line.strip() for line in lines).replace(" ", "")
        assert long.replace(" ", "") in text
        assert any(line.split() == ["effect", "clients", "wait"] for line in lines)
        assert any(line.split() == ["warning", "production"] for line in lines)
        assert any(line.split() == ["2.", "SHOW", "POOLS"] for line in lines)
        plan.show([Section("edge-9z")])
        app.theme = "textual-light"
        await pilot.pause()
        assert "edge-9z" in screen_text(app)[0]


async def test_the_banner_says_where_one_is_in_a_word() -> None:
    app = PartApp(*banners())
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.pause()
        assert [line.strip() for line in screen_text(app)[:3]] == [
            "DEVELOPMENT  lab",
            "STAGING  eu-west, 12 poolers",
            "PRODUCTION  payments, 140 poolers",
        ]


async def test_a_long_record_is_wrapped_and_never_cut() -> None:
    log = LogView()
    app = PartApp(log)
    async with app.run_test(size=(44, 10)) as pilot:
        log.write(record(1, text="the host key of gate-3 has changed since it was last seen"))
        await pilot.pause()
        assert [line.strip() for line in screen_text(app)[:3]] == [
            "12:00:01 INFO    collector: the host key of",
            "gate-3 has changed since",
            "it was last seen",
        ]
        await pilot.resize_terminal(100, 10)
        await pilot.pause()
        assert screen_text(app)[0].endswith("it was last seen")
