"""What is written to people: when it has colours, how wide it is, how it asks."""

from __future__ import annotations

import io
import json

import pytest

from nftrtsp.errors import NftrtspError
from nftrtsp.lab.telling import console_for
from nftrtsp.terminal import Channel, Terminal, hung, paint
from tests.unit.ttys import pipe, screen, shown


@pytest.mark.parametrize(
    ("environ", "terminal", "piped"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False, False),
    ],
)
def test_colours_are_for_terminals_that_were_not_told_otherwise(
    environ: dict[str, str], terminal: bool, piped: bool
) -> None:
    assert (screen(80, **environ).coloured, pipe(**environ).coloured) == (terminal, piped)


def test_a_line_hangs_in_where_the_terminal_is_too_narrow_and_stays_one_on_a_pipe() -> None:
    text = "one two  three four"
    narrow, stream = screen(10, NO_COLOR="1"), io.StringIO()
    narrow.line(text, hang=4)
    pipe(stream).line(text, hang=4)
    assert shown(narrow) == "one two\n    three\n    four\n"
    assert stream.getvalue() == f"{text}\n"


def test_lines_of_one_text_are_wrapped_each_for_itself() -> None:
    narrow = screen(10, NO_COLOR="1")
    narrow.line("one two three\nb", hang=2)
    assert shown(narrow) == "one two\n  three\nb\n"


def test_long_lines_are_cut_at_spaces() -> None:
    assert hung("one two  three", None, 4) == "one two  three"
    assert hung("  a-word-that-is-too-long b", 10, 4) == "  a-word-that-is-too-long\n    b"
    assert hung("", 10, 4) == ""


def test_a_wrapped_line_is_painted_piece_by_piece() -> None:
    narrow = screen(10)
    narrow.line("one two three", "bad")
    pieces = ["one two", "three"]
    assert shown(narrow) == "".join(f"{paint(piece, 'bad', coloured=True)}\n" for piece in pieces)


def test_what_counts_down_is_written_over_and_gone_before_the_next_line() -> None:
    moving = screen(80, NO_COLOR="1")
    moving.over("10 s left")
    moving.over("9 s left")
    moving.line("done")
    assert shown(moving) == "\r10 s left\r9 s left \r        \rdone\n"


@pytest.mark.parametrize("channel", [pipe(io.StringIO()), screen(80, TERM="dumb")])
def test_nothing_counts_down_where_the_cursor_cannot_move(channel: Channel) -> None:
    channel.over("10 s left")
    channel.line("done")
    stream = channel._stream()
    assert (stream.getvalue() if isinstance(stream, io.StringIO) else shown(channel)) == "done\n"


def test_json_is_one_object_on_one_line() -> None:
    out = io.StringIO()
    Terminal(out=lambda: out).json({"name": "Salón", "port": None})
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue()) == {"name": "Salón", "port": None}


def test_a_closed_stream_swallows_what_is_said() -> None:
    nobody = Terminal(out=lambda: None, err=lambda: None)
    nobody.say("hello")
    nobody.warn("hello")
    nobody.json({})
    nobody.out.require_reader()
    assert (nobody.out.is_terminal, nobody.out.columns) == (False, None)


class _Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "answer"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_only_a_yes_is_one(monkeypatch: pytest.MonkeyPatch, typed: str, answer: bool) -> None:
    monkeypatch.setattr("sys.stdin", _Keyboard(typed))
    assert Terminal(err=io.StringIO).confirm("Apply this?") is answer


def test_an_odd_answer_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Keyboard("perhaps\ny\n"))
    err = io.StringIO()
    assert Terminal(err=lambda: err).confirm("Apply this?")
    assert err.getvalue().count("Apply this? [y/N]: ") == 2


def test_without_a_keyboard_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(NftrtspError, match="add --yes"):
        Terminal(err=io.StringIO).confirm("Apply this?")


@pytest.mark.parametrize(
    ("channel", "coloured"),
    [
        (screen(80), True),
        (screen(80, NO_COLOR="1"), False),
        (screen(80, TERM="dumb"), False),
        (pipe(), False),
    ],
)  # fmt: skip
def test_the_demo_is_told_by_the_same_rule(channel: Channel, coloured: bool) -> None:
    console = console_for(channel)
    with console.capture() as told:
        console.print("[bold]nftrtsp demo[/] [red]no film[/]")
    assert ("\x1b" in told.get()) is coloured
    assert console.width == 80
