"""Does the block show the sweep, and each running trial?"""

import pytest

from trainer.reporting import blocks
from trainer.reporting.sweep_view import SweepView
from trainer.reporting.terminal import _STYLE

BEST = "best test_accuracy 0.9633 by trial 0000"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def _trial(number, epoch=6.0):
    return {
        "id": f"{number:04}", "epoch": epoch, "epochs": 20.0, "seconds": 0.0,
        "metrics": {"test_accuracy": 0.9512, "loss": 0.25},
        "values": {"optimizer.learning_rate": 0.00316, "model.hidden_units": [128, 64]},
    }  # fmt: skip


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(clock):
    return SweepView(clock)


def _feed(view, running, trials=16, ended=None, best=BEST):
    view.feed(
        {"event": "sweep", "trials": trials, "ended": ended or {}, "best": best, "running": running}
    )


def _shown(view, columns=140, rows=10):
    lines = blocks.render(view.rows(columns), columns, rows, "utf-8")
    return [_STYLE.sub("", line).rstrip() for line in lines]


def test_the_block_shows_the_sweep_and_each_running_trial(view, clock):
    ended = {"completed": 1, "stopped": 1, "failed": 1}
    _feed(view, [_trial(3)], ended=ended)
    clock.now += 80
    _feed(view, [_trial(3)], ended=ended)
    head, trial = _shown(view)
    assert head == (
        "trials 3/16  1 completed  1 stopped  1 failed  1 running  "
        "best test_accuracy 0.9633 by trial 0000  1 min 20 s"
    )
    assert trial.startswith("0003 ━━━━━╺━")
    assert trial.endswith(
        "6/20 test accuracy 0.9512  loss 0.2500 1 min 20 s learning_rate=0.00316 hidden_units=128,64"
    )


def test_there_is_no_block_without_a_sweep(view):
    assert view.rows(80) == []


def test_a_sweep_of_an_unknown_length_has_no_total(view):
    _feed(view, [], trials=None, best="")
    assert _shown(view)[0].startswith("trials 0  0 running")


def test_trials_that_do_not_fit_are_counted(view):
    _feed(view, [_trial(number) for number in range(30)])
    rows = _shown(view)
    assert len(rows) == 9 and rows[-1] == "... and 23 more"


@pytest.mark.parametrize("columns", [200, 80, 40, 10])
def test_the_block_fits_any_width(view, columns):
    _feed(view, [_trial(number) for number in range(3)])
    assert all(len(row) < columns for row in _shown(view, columns, 30))


def test_control_characters_do_not_reach_the_terminal(view):
    odd = _trial(1) | {"values": {"data.dir": "x\x1b[10A\ny"}, "metrics": {"lo\x1bss": 1.0}}
    _feed(view, [odd])
    assert len(_shown(view)) == 2 and _shown(view)[1].endswith("dir=x [10A y")
