"""Does the screen show how the sweep stands, and nothing that it should not?"""

import io
import os
import pty
import re

import pytest

from trainer.tune.results.progress import Live
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED, Objective, TrialRecord

ACCURACY = Objective.named("test_accuracy")
DONE = TrialRecord("0000", {"optimizer.learning_rate": 0.1}, COMPLETED, 0.9633)
FORMS = re.compile(r"\x1b\[(\d*)([A-Za-z])|(.)", re.DOTALL)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Screen:
    """A terminal as far as is needed: what it is sent, and what can then be seen."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.rows, self.row, self.column = [""], 0, 0

    def feed(self, text):
        for count, form, character in FORMS.findall(text):
            if form:
                getattr(self, f"_{form}")(int(count or 0))
            elif character == "\n":
                self._next_row()
            elif character == "\r":
                self.column = 0
            else:
                assert character.isprintable(), repr(character)
                self._type(character)

    def seen(self):
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
    """A pseudo-terminal, and what stands on it."""

    def __init__(self, width, height, patch):
        patch.setenv("COLUMNS", str(width))
        patch.setenv("LINES", str(height))
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        self._outer, inner = pty.openpty()
        self.stream = open(inner, "w", encoding="utf-8")  # noqa: SIM115
        self._screen = Screen(width, height)
        self.sent = ""

    def seen(self):
        """What can be seen, empty rows left out."""
        self.stream.write("\0")  # The end of what was sent so far.
        self.stream.flush()
        text = ""
        while not text.endswith("\0"):
            text += os.read(self._outer, 65536).decode()
        self.sent += text[:-1]
        self._screen.feed(text[:-1])
        return [row for row in self._screen.seen() if row]

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


def test_the_block_tells_of_the_sweep_and_of_each_running_trial(terminal, clock):
    live = Live(terminal.stream, clock)
    records = [DONE, TrialRecord("0001", {}, FAILED), TrialRecord("0002", {}, STOPPED), _running(3)]
    live.show(records, 16, DONE, ACCURACY)
    clock.now += 80
    live.show(records, 16, DONE, ACCURACY)
    assert terminal.seen() == [
        "16 trials | 1 done, 1 stopped, 1 failed, 1 running | best test_accuracy 0.9633 by trial 0000 "
        "| 1 min 20 s",
        "0003 [===-------]    6/20  test_accuracy 0.9512  loss 0.2500  1 min 20 s  "
        "learning_rate=0.00316 hidden_units=128,64",
    ]


def test_a_block_that_shrinks_or_grows_leaves_nothing_behind(terminal, clock):
    live = Live(terminal.stream, clock)
    for count in (3, 1, 0, 2):
        live.show([_running(number) for number in range(count)], 16, None, ACCURACY)
        assert len(terminal.seen()) == 1 + count


def test_a_long_line_is_cut_and_a_short_one_hides_all_of_it(terminal, clock):
    live = Live(terminal.stream, clock)
    many = TrialRecord("0001", {f"field_{number}": 0.5 for number in range(30)})
    live.show([many], 16, None, ACCURACY)
    assert [len(row) for row in terminal.seen()] == [27, 119]
    live.show([TrialRecord("0001", {})], 16, None, ACCURACY)
    assert terminal.seen()[1] == "0001 [----------]       0  0 s"


def test_a_line_said_in_between_stays_above_the_block(terminal, clock):
    live = Live(terminal.stream, clock)
    live.say("first")
    live.show([_running(1), _running(2)], 16, None, ACCURACY)
    live.say("second " + "x" * 150)
    live.say("two\nlines")
    assert [row[:8] for row in terminal.seen()] == [
        *("first", "second x", "x" * 8, "two", "lines"),
        *("16 trial", "0001 [==", "0002 [=="),
    ]


def test_a_full_screen_scrolls_only_what_was_said(terminal, clock):
    live = Live(terminal.stream, clock)
    for number in range(30):
        live.show([_running(number)], 16, None, ACCURACY)
        live.say(f"said {number}")
    rows = terminal.seen()
    assert rows[:-2] == [f"said {number}" for number in range(23, 30)]
    assert [row[:8] for row in rows[-2:]] == ["16 trial", "0029 [=="]


def test_nothing_of_the_block_is_left_once_it_is_closed(terminal, clock):
    live = Live(terminal.stream, clock)
    live.say("before")
    live.show([_running(1), _running(2)], 16, DONE, ACCURACY)
    live.close()
    assert terminal.seen() == ["before"]
    live.close()
    live.say("after")
    assert terminal.seen() == ["before", "after"]


def test_more_trials_than_rows_are_counted(terminal, clock):
    live = Live(terminal.stream, clock)
    records = [_running(number) for number in range(30)]
    for _ in range(3):
        clock.now += 1
        live.show(records, 40, None, ACCURACY)
    rows = terminal.seen()
    assert len(rows) == 9 and rows[-2].startswith("0006") and rows[-1] == "... and 23 more"


def test_a_window_made_narrower_is_wiped_as_far_as_its_lines_were_broken(
    terminal, clock, monkeypatch
):
    live = Live(terminal.stream, clock)
    live.show([_running(1)], 16, None, ACCURACY)
    terminal.seen()
    monkeypatch.setenv("COLUMNS", "50")
    live.show([_running(2)], 16, None, ACCURACY)
    terminal.seen()
    assert terminal.sent.count("\x1b[4F") == 1  # One row for the first line, two for the trial's.


def test_the_best_is_coloured_unless_nobody_wants_colours(terminal, clock, monkeypatch):
    Live(terminal.stream, clock).show([DONE], 16, DONE, ACCURACY)
    terminal.seen()
    assert "\x1b[32mbest test_accuracy 0.9633 by trial 0000\x1b[0m" in terminal.sent
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.sent = ""
    Live(terminal.stream, clock).show([DONE], 16, DONE, ACCURACY)
    terminal.seen()
    assert "best test_accuracy" in terminal.sent and "\x1b[32m" not in terminal.sent


def test_what_cannot_be_printed_does_not_reach_the_terminal(terminal, clock):
    live = Live(terminal.stream, clock)
    live.say("a\x1b[2Jb\rc\td\x07 \u6570")
    odd = TrialRecord("0001", {"data.dir": "x\x1b[10A\ny\u202e"}, metrics={"lo\x1bss": 1.0})
    live.show([odd], None, None, ACCURACY)
    rows = terminal.seen()
    assert rows[0] == "a [2Jb c d  \\u6570"
    assert len(rows) == 3 and rows[2].endswith("dir=x [10A y")


def test_elsewhere_a_trial_is_told_of_when_it_came_further_and_not_too_often(clock):
    stream = io.StringIO()
    live = Live(stream, clock)
    for now, epoch in ((0, 0.0), (1, 1.0), (2, 2.0), (10.5, 2.0), (11, 3.0), (50, 3.0)):
        clock.now = 100.0 + now
        live.show([_running(1, epoch)], 16, DONE, ACCURACY)
    assert stream.getvalue().splitlines() == [
        f"trial 0001 | epoch {epoch}/20 | test_accuracy 0.9512 | loss 0.2500 | best test_accuracy "
        "0.9633 by trial 0000 | learning_rate=0.00316 hidden_units=128,64"
        for epoch in (1, 3)
    ]


def test_elsewhere_a_line_that_is_said_is_that_line(clock):
    stream = io.StringIO()
    live = Live(stream, clock)
    live.say("trial 0001 failed")
    live.close()
    assert stream.getvalue() == "trial 0001 failed\n"


def test_the_sweep_goes_on_though_nobody_reads(clock):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as raw:
        broken = io.TextIOWrapper(raw, write_through=True)
        closed = io.StringIO()
        closed.close()
        for stream in (broken, closed):
            live = Live(stream, clock)
            live.say("to nobody")
            live.show([_running(1)], 16, None, ACCURACY)
            live.close()
        with pytest.raises(BrokenPipeError):
            broken.write("x")
        broken.detach()
