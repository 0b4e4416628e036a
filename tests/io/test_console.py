"""What a terminal shows while something takes time, and that nothing else ever gets it."""

from __future__ import annotations

import io
import sys

import pytest

from cscs_core.io.console import complain, say, tracked, tracked_bytes


class Terminal(io.StringIO):
    """`line` is what stands on its last line."""

    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        cells: list[str] = []
        for part in self.getvalue().rpartition("\n")[2].split("\r"):
            cells[: len(part)] = part
        return "".join(cells).rstrip()


def shown(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that gets both streams. (A fixture's would be taken away again when the test begins.)"""
    terminal = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, terminal)
    return terminal


def test_a_bar_goes_away_when_all_is_done(monkeypatch: pytest.MonkeyPatch):
    terminal = shown(monkeypatch)
    seen = []
    for item in tracked("abc", "letters"):
        assert terminal.line.startswith("letters:") and "/3 [" in terminal.line
        seen.append(item)
    assert seen == ["a", "b", "c"] and terminal.line == ""


def test_lines_stand_above_the_bar(monkeypatch: pytest.MonkeyPatch):
    terminal = shown(monkeypatch)
    for item in tracked("abc", "letters"):
        say(f"found {item}")
        complain(f"{item} is no number")
        assert terminal.line.startswith("letters:")
    lines = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")]
    assert lines[:-1] == [text for item in "abc" for text in (f"found {item}", f"cscs: {item} is no number")]
    assert terminal.line == ""


def test_an_error_leaves_no_bar_behind(monkeypatch: pytest.MonkeyPatch):
    terminal = shown(monkeypatch)

    def broken() -> None:
        for _ in tracked("abc", "letters"):
            raise ValueError("broken")

    try:
        broken()
    except ValueError as error:
        complain(str(error))
    assert "cscs: broken\n" in terminal.getvalue() and terminal.line == ""


def test_one_thing_needs_no_bar(monkeypatch: pytest.MonkeyPatch):
    terminal = shown(monkeypatch)
    assert list(tracked("a", "letters")) == ["a"] and list(tracked("", "letters")) == []
    assert terminal.getvalue() == ""


def test_bytes_are_counted_of_how_many_there_will_be(monkeypatch: pytest.MonkeyPatch):
    terminal = shown(monkeypatch)
    with tracked_bytes("a.onnx") as progress:
        progress(500_000, 2_000_000)
        say("")  # draws it anew
        assert "a.onnx:  25%|" in terminal.line and "500k/2.00M [" in terminal.line
        progress(200_000, 2_000_000)  # from the start again
        say("")
        assert "a.onnx:  10%|" in terminal.line
    assert terminal.line == ""


def test_without_a_terminal_there_are_lines_alone(capsys: pytest.CaptureFixture[str]):
    for item in tracked("ab", "letters"):
        say(item)
    with tracked_bytes("a.onnx") as progress:
        progress(1, 2)
    complain("no")
    assert capsys.readouterr() == ("a\nb\n", "cscs: no\n")
