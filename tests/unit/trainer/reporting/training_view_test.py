"""Does the block say how far training is, and what each task does?"""

import json

import pytest

from trainer.process.event_stream import MARK
from trainer.reporting import blocks
from trainer.reporting.screen_view import ScreenView
from trainer.reporting.terminal import _STYLE


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return ScreenView(clock)


def feed(view, event, **values):
    return view.feed(MARK + json.dumps({"event": event, "time": 0.0, **values}))


def shown(view, columns=110, rows=20, encoding="utf-8"):
    return [_STYLE.sub("", row).rstrip() for row in view.lines(columns, rows, encoding)]


def progress(view, step, doing="training", **values):
    known = {"total_steps": 480, "epoch": step / 24, "examples": 64 * step}
    feed(view, "progress", doing=doing, step=step, **known, **values)


def test_a_run_shows_its_bar_its_rate_and_the_time_left(view, clock):
    progress(view, 0)
    clock.now += 10
    progress(view, 240)
    feed(view, "train", step=240, epoch=10.0, loss=0.0676, accuracy=0.98, learning_rate=0.001,
         examples_per_s=1.0, message="train | ...")  # fmt: skip
    feed(view, "eval", step=240, epoch=10.0, loss=0.1173, accuracy=0.9633, message="eval | ...")
    first, *rest = shown(view)
    bar, _, figures = first.partition(" step ")
    assert len(bar) == 27 and set(bar) <= set("━╸╺")
    assert figures == "240/480  epoch 10.00  1,536 examples/s  10 s left  training"
    assert rest == [
        "train      loss 0.0676  accuracy 0.9800",
        "eval       loss 0.1173  accuracy 0.9633",
    ]


def test_the_rate_is_that_of_the_last_seconds_and_begins_anew_after_a_resume(view, clock):
    for step in range(0, 101, 10):  # 10 steps a second, then 1.
        progress(view, step)
        clock.now += 1
    for step in range(101, 141):
        progress(view, step)
        clock.now += 1
    assert "  64 examples/s  5 min 40 s left" in shown(view)[0]
    clock.now += 60  # It is stalled.
    assert "  16.39 examples/s  22 min" in shown(view)[0]
    progress(view, 50)
    assert "examples/s" not in shown(view)[0]


def test_before_the_first_step_the_block_says_what_is_done(view):
    assert shown(view) == []
    feed(view, "progress", doing="reading the data")
    assert shown(view) == ["reading the data"]


def test_data_that_is_prepared_has_a_bar_too(view):
    feed(view, "progress", doing="writing columns", share=0.5)
    assert shown(view)[0].endswith("  50%  writing columns")


def test_each_task_has_a_line_and_lost_and_restarted_ones_are_marked(view, clock):
    for task in ("chief 0", "worker 0", "worker 1"):
        feed(view, "task", task=task, state="running")
    progress(view, 24, task="chief 0")
    feed(view, "progress", doing="waiting for the other tasks", task="worker 0")
    feed(view, "task", task="worker 1", state="lost", why="killed by SIGKILL", exit_code=-9)
    rows = shown(view)
    assert rows[0].endswith("step 24/480  epoch 1.00")
    assert rows[1:] == [
        "✗ worker 1 lost: killed by SIGKILL",
        "● chief 0  training step 24",
        "● worker 0 waiting for the other tasks",
    ]
    feed(view, "task", task="worker 0", state="stopped", why="worker 1 was lost", exit_code=75)
    assert "↻ worker 0 stopped, as worker 1 was lost" in shown(view)
    feed(view, "task", task="worker 1", state="running")
    progress(view, 24, task="worker 1")
    assert "● worker 1 training step 24  restarted once (killed by SIGKILL)" in shown(view)
    feed(view, "task", task="chief 0", state="done", why="", exit_code=0)
    feed(view, "task", task="worker 1", state="failed", why="out of memory", exit_code=2)
    assert {"✓ chief 0  done", "✗ worker 1 failed: out of memory"} <= {*shown(view)}


def test_the_progress_is_the_leaders(view):
    for task in ("worker 0", "worker 1"):
        feed(view, "task", task=task, state="running")
    progress(view, 24, task="worker 0")
    progress(view, 48, task="worker 1")
    assert "step 24/480" in shown(view)[0]


@pytest.mark.parametrize("columns", [200, 80, 40, 20, 9, 1])
@pytest.mark.parametrize("rows", [24, 3, 1])
def test_the_block_fits_any_window(view, clock, columns, rows):
    for number in range(12):
        feed(view, "task", task=f"worker {number}", state="running")
        progress(view, 24, task=f"worker {number}")
    feed(view, "train", loss=0.1, accuracy=0.9, message="train")
    clock.now += 1
    lines = shown(view, columns, rows)
    assert all(len(line) < max(columns, 2) for line in lines)
    assert len(lines) <= max(rows - 1, 1)


def test_where_not_all_tasks_fit_those_that_are_lost_come_first(view):
    for number in range(12):
        feed(view, "task", task=f"worker {number}", state="running")
    feed(view, "task", task="worker 11", state="lost", why="killed by SIGKILL")
    rows = shown(view, rows=6)
    assert rows[0].startswith("✗ worker 11") and rows[-1] == "... and 8 more"


def test_in_40_columns_everything_is_there_in_more_lines(view, clock):
    progress(view, 0)
    clock.now += 10
    progress(view, 240, doing="saving")
    text = " ".join(" ".join(shown(view, columns=40)).split())
    for part in ("step 240/480", "epoch 10.00", "1,536 examples/s", "10 s left", "saving"):
        assert part in text


def test_a_terminal_without_utf8_gets_ascii(view):
    feed(view, "task", task="worker 0", state="running")
    progress(view, 240, task="worker 0")
    assert "".join(shown(view, encoding="ascii")).isascii()


def test_no_color_has_no_colours(view, monkeypatch):
    feed(view, "task", task="worker 0", state="lost", why="killed by SIGKILL")
    assert "31m" in "".join(view.lines(80, 20, "utf-8"))
    monkeypatch.setenv("NO_COLOR", "1")
    lines = "".join(view.lines(80, 20, "utf-8"))
    assert "lost" in lines and "31m" not in lines


def test_a_line_stays_with_its_time_its_level_and_its_task(view, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TZ", "UTC")
    assert feed(view, "log", level="info", message="workdir runs/a") == ["00:00:00 workdir runs/a"]
    feed(view, "task", task="worker 10", state="running")
    assert feed(view, "log", level="warning", message="odd", task="worker 1") == [
        "[worker 1]  00:00:00 warning: odd"
    ]
    assert feed(view, "output", message="\x1b[2Jprinted", task="worker 1") == [
        "[worker 1]  printed"
    ]
    assert view.feed("a library's line\r") == ["a library's line"]
    assert feed(view, "end", exit_code=2, message="bad", task="worker 1") == []


def test_an_error_stands_out(view):
    assert view.feed("muster: error: bad") == [blocks.paint("muster: error: bad", blocks.BAD)]
    assert "\x1b[1;31m" in blocks.paint("x", blocks.BAD)


def test_the_view_is_closed_by_its_last_event(view):
    assert not view.is_closed
    feed(view, "closed")
    assert view.is_closed
