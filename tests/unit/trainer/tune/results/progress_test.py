"""Does a log show the progress of the sweep, and a program everything?"""

import json
import os

import pytest

from trainer.process import console, event_stream
from trainer.tune.results.progress import SweepProgress
from trainer.tune.search.record import COMPLETED, FAILED, Objective, TrialRecord

ACCURACY = Objective.named("test_accuracy")
DONE = TrialRecord("0000", {"optimizer.learning_rate": 0.1}, COMPLETED, 0.9633)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def _running(number, epoch=6.0, **known):
    values = {"optimizer.learning_rate": 0.00316, "model.hidden_units": (128, 64)}
    metrics = {"loss": 0.25, "test_accuracy": 0.9512}
    return TrialRecord(f"{number:04}", values, metrics=metrics, epoch=epoch, epochs=20.0, **known)


def test_in_a_log_progress_is_printed_at_most_every_ten_seconds(clock, capsys):
    progress = SweepProgress(clock)
    for now, epoch in ((0, 0.0), (1, 1.0), (2, 2.0), (10.5, 2.0), (11, 3.0), (50, 3.0)):
        clock.now = 100.0 + now
        progress.update([_running(1, epoch)], 16, DONE, ACCURACY)
    assert capsys.readouterr().out.splitlines() == [
        f"trial 0001 | epoch {epoch}/20 | test_accuracy 0.9512 | loss 0.2500 | best test_accuracy "
        "0.9633 by trial 0000 | learning_rate=0.00316 hidden_units=128,64"
        for epoch in (1, 3)
    ]


def test_control_characters_are_not_printed(capsys):
    SweepProgress().print_line("a\x1b[2Jb\rc\td\x07 \u6570\nmore")
    assert capsys.readouterr().out == "a [2Jb c d  \\u6570\nmore\n"


def test_quiet_prints_nothing_of_it(clock, capsys, monkeypatch):
    monkeypatch.setattr(console, "_is_quiet", True)
    progress = SweepProgress(clock)
    progress.print_line("trial 0001 failed")
    progress.update([_running(1, 2.0)], 16, DONE, ACCURACY)
    assert capsys.readouterr().out == ""


def test_a_program_gets_the_state_of_the_whole_sweep(clock):
    reading, writing = os.pipe()
    event_stream.start(writing)
    try:
        SweepProgress(clock).update(
            [DONE, TrialRecord("0001", {}, FAILED), _running(3)], 16, DONE, ACCURACY
        )
    finally:
        event_stream.stop()
        os.close(writing)
    with open(reading) as lines:
        (line,) = lines
    event = json.loads(line)
    assert event.pop("time")
    assert event == {
        "event": "sweep",
        "trials": 16,
        "ended": {"completed": 1, "failed": 1},
        "best": "best test_accuracy 0.9633 by trial 0000",
        "running": [
            {
                "id": "0003",
                "epoch": 6.0,
                "epochs": 20.0,
                "metrics": {"test_accuracy": 0.9512, "loss": 0.25},
                "seconds": 0.0,
                "values": {"optimizer.learning_rate": 0.00316, "model.hidden_units": [128, 64]},
            }
        ],
    }
