"""Does a recipe's writer get every event, and can it never harm the run?"""

import json

from trainer.metrics.trackers import Trackers
from trainer.metrics.writers import MetricWriter
from trainer.storage.workdir import Workdir


class Tracker:
    def __init__(self, fails_at=None):
        self.calls, self._fails_at = [], fails_at

    def write(self, event, step, values):
        self.calls.append((event, step, values))
        if step == self._fails_at:
            raise ConnectionError("the server\nis away")

    def close(self):
        self.calls.append("closed")


def _write(folder, tracker, steps):
    writer = MetricWriter(Workdir(folder), trackers=Trackers(tracker))
    for step in steps:
        writer.write("train", step, 1.0, {"loss": 1 / step})
    writer.close()


def test_a_writer_gets_the_events_and_is_closed(tmp_path):
    tracker = Tracker()
    _write(tmp_path, tracker, [1, 2])
    assert tracker.calls == [("train", 1, {"loss": 1.0}), ("train", 2, {"loss": 0.5}), "closed"]


def test_one_that_fails_is_one_warning_and_gets_no_more(tmp_path, caplog):
    tracker = Tracker(fails_at=2)
    _write(tmp_path, tracker, [1, 2, 3])
    assert len(tracker.calls) == 2
    (warning,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert "ConnectionError: the server is away" in warning
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
