"""Does the screen show the state of the sweep, and nothing else?"""

import io
import os
import pty
import re

import pytest

from trainer.tune.results.progress import LiveProgress
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED, Objective, TrialRecord

ACCURACY = Objective.named("test_accuracy")
DONE = TrialRecord("0000", {"optimizer.learning_rate": 0.1}, COMPLETED, 0.9633)
SEQUENCES = re.compile(r"\x1b\[(\d*)([A-Za-z])|(.)", re.DOTALL)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Screen:
    """A terminal emulator with the control sequences that are needed here."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.rows, self.row, self.column = [""], 0, 0

    def feed(self, text):
        for count, code, character in SEQUENCES.findall(text):
            if code:
                getattr(self, f"_{code}")(int(count or 0))
            elif character == "\n":
                self._next_row()
            elif character == "\r":
                self.column = 0
            else:
                assert character.isprintable(), repr(character)
                self._type(character)

    def visible(self):
        return [row.rstrip() for row in self.rows[-self.height :]]

    def _type(self, character):
        if self.column == self.width:
            self._next_row()
            self.column = 0
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1

    def _next_row(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _F(self, count):
        top = max(len(self.rows) - self.height, 0)
        self.row, self.column = max(self.row - count, top), 0

    def _K(self, _):
        self.rows[self.row] = self.rows[self.row][: self.column]

    def _J(self, _):
        self._K(0)
        del self.rows[self.row + 1 :]

    def _m(self, _):
        pass


class Terminal:
    """A pseudo-terminal, and a screen that shows what is written to it."""

    def __init__(self, width, height, patch):
        patch.setenv("COLUMNS", str(width))
        patch.setenv("LINES", str(height))
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        self._outer, inner = pty.openpty()
        self.stream = open(inner, "w", encoding="utf-8")  # noqa: SIM115
        self._screen = Screen(width, height)
        self.sent = ""

    def visible(self):
        """The visible rows that are not empty."""
        self.stream.write("\0")  # Marks the end of what was sent so far.
        self.stream.flush()
        text = ""
        while not text.endswith("\0"):
            text += os.read(self._outer, 65536).decode()
        self.sent += text[:-1]
        self._screen.feed(text[:-1])
        return [row for row in self._screen.visible() if row]

    def close(self):
        self.stream.close()
        os.close(self._outer)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal(120, 10, monkeypatch)
    yield terminal
    terminal.close()


def _running(number, epoch=6.0, **known):
    values = {"optimizer.learning_rate": 0.00316, "model.hidden_units": (128, 64)}
    metrics = {"loss": 0.25, "test_accuracy": 0.9512}
    return TrialRecord(f"{number:04}", values, metrics=metrics, epoch=epoch, epochs=20.0, **known)


def test_the_block_shows_the_sweep_and_each_running_trial(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    records = [DONE, TrialRecord("0001", {}, FAILED), TrialRecord("0002", {}, STOPPED), _running(3)]
    live.update(records, 16, DONE, ACCURACY)
    clock.now += 80
    live.update(records, 16, DONE, ACCURACY)
    assert terminal.visible() == [
        "16 trials | 1 done, 1 stopped, 1 failed, 1 running | best test_accuracy 0.9633 by trial 0000 "
        "| 1 min 20 s",
        "0003 [===-------]    6/20  test_accuracy 0.9512  loss 0.2500  1 min 20 s  "
        "learning_rate=0.00316 hidden_units=128,64",
    ]


def test_a_block_that_shrinks_or_grows_leaves_no_old_rows(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    for count in (3, 1, 0, 2):
        live.update([_running(number) for number in range(count)], 16, None, ACCURACY)
        assert len(terminal.visible()) == 1 + count


def test_a_long_line_is_cut_and_a_shorter_one_replaces_it_completely(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    many = TrialRecord("0001", {f"field_{number}": 0.5 for number in range(30)})
    live.update([many], 16, None, ACCURACY)
    assert [len(row) for row in terminal.visible()] == [27, 119]
    live.update([TrialRecord("0001", {})], 16, None, ACCURACY)
    assert terminal.visible()[1] == "0001 [----------]       0  0 s"


def test_a_printed_line_stays_above_the_block(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    live.print_line("first")
    live.update([_running(1), _running(2)], 16, None, ACCURACY)
    live.print_line("second " + "x" * 150)
    live.print_line("two\nlines")
    assert [row[:8] for row in terminal.visible()] == [
        *("first", "second x", "x" * 8, "two", "lines"),
        *("16 trial", "0001 [==", "0002 [=="),
    ]


def test_a_full_screen_scrolls_only_the_printed_lines(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    for number in range(30):
        live.update([_running(number)], 16, None, ACCURACY)
        live.print_line(f"line {number}")
    rows = terminal.visible()
    assert rows[:-2] == [f"line {number}" for number in range(23, 30)]
    assert [row[:8] for row in rows[-2:]] == ["16 trial", "0029 [=="]


def test_close_removes_the_block(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    live.print_line("before")
    live.update([_running(1), _running(2)], 16, DONE, ACCURACY)
    live.close()
    assert terminal.visible() == ["before"]
    live.close()
    live.print_line("after")
    assert terminal.visible() == ["before", "after"]


def test_trials_that_do_not_fit_are_counted(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    records = [_running(number) for number in range(30)]
    for _ in range(3):
        clock.now += 1
        live.update(records, 40, None, ACCURACY)
    rows = terminal.visible()
    assert len(rows) == 9 and rows[-2].startswith("0006") and rows[-1] == "... and 23 more"


def test_in_a_narrower_window_the_wrapped_rows_are_removed_too(terminal, clock, monkeypatch):
    live = LiveProgress(terminal.stream, clock)
    live.update([_running(1)], 16, None, ACCURACY)
    terminal.visible()
    monkeypatch.setenv("COLUMNS", "50")
    live.update([_running(2)], 16, None, ACCURACY)
    terminal.visible()
    assert terminal.sent.count("\x1b[4F") == 1  # One row for the first line, two for the trial's.


def test_the_best_is_colored_unless_no_color_is_set(terminal, clock, monkeypatch):
    LiveProgress(terminal.stream, clock).update([DONE], 16, DONE, ACCURACY)
    terminal.visible()
    assert "\x1b[32mbest test_accuracy 0.9633 by trial 0000\x1b[0m" in terminal.sent
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.sent = ""
    LiveProgress(terminal.stream, clock).update([DONE], 16, DONE, ACCURACY)
    terminal.visible()
    assert "best test_accuracy" in terminal.sent and "\x1b[32m" not in terminal.sent


def test_control_characters_do_not_reach_the_terminal(terminal, clock):
    live = LiveProgress(terminal.stream, clock)
    live.print_line("a\x1b[2Jb\rc\td\x07 \u6570")
    odd = TrialRecord("0001", {"data.dir": "x\x1b[10A\ny\u202e"}, metrics={"lo\x1bss": 1.0})
    live.update([odd], None, None, ACCURACY)
    rows = terminal.visible()
    assert rows[0] == "a [2Jb c d  \\u6570"
    assert len(rows) == 3 and rows[2].endswith("dir=x [10A y")


def test_without_a_terminal_progress_is_printed_at_most_every_ten_seconds(clock):
    stream = io.StringIO()
    live = LiveProgress(stream, clock)
    for now, epoch in ((0, 0.0), (1, 1.0), (2, 2.0), (10.5, 2.0), (11, 3.0), (50, 3.0)):
        clock.now = 100.0 + now
        live.update([_running(1, epoch)], 16, DONE, ACCURACY)
    assert stream.getvalue().splitlines() == [
        f"trial 0001 | epoch {epoch}/20 | test_accuracy 0.9512 | loss 0.2500 | best test_accuracy "
        "0.9633 by trial 0000 | learning_rate=0.00316 hidden_units=128,64"
        for epoch in (1, 3)
    ]


def test_without_a_terminal_a_line_is_printed_as_it_is(clock):
    stream = io.StringIO()
    live = LiveProgress(stream, clock)
    live.print_line("trial 0001 failed")
    live.close()
    assert stream.getvalue() == "trial 0001 failed\n"


def test_the_sweep_continues_if_its_output_is_closed(clock):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as raw:
        broken = io.TextIOWrapper(raw, write_through=True)
        closed = io.StringIO()
        closed.close()
        for stream in (broken, closed):
            live = LiveProgress(stream, clock)
            live.print_line("not read")
            live.update([_running(1)], 16, None, ACCURACY)
            live.close()
        with pytest.raises(BrokenPipeError):
            broken.write("x")
        broken.detach()
