"""Is a task's time divided into phases without a gap, and written so that a kill loses little of it?"""

import json
import time

import pytest

from trainer.metrics import timeline as timeline_lib
from trainer.metrics.timeline import Timeline


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines(folder, task="worker 0"):
    text = timeline_lib.path_of(folder, task).read_text()
    return [json.loads(line) for line in text.splitlines() if line]


def total(folder):
    found = {}
    for line in lines(folder):
        for phase, seconds in line.get("seconds", {}).items():
            found[phase] = found.get(phase, 0) + seconds
    return found


def spend(timeline, clock, phase, seconds, compiles=False):
    with timeline.during(phase, compiles):
        clock.now += seconds


def test_every_second_belongs_to_one_phase_also_those_before_the_file(tmp_path, clock):
    timeline = Timeline(clock, age_s=2.0)
    clock.now += 1
    spend(timeline, clock, "wait", 3)
    before = time.time()
    timeline.keep_in(tmp_path, "worker 0")
    after = time.time()
    timeline.enter("other")
    spend(timeline, clock, "input", 0.25)
    clock.now += 0.5
    timeline.end("finished")
    assert total(tmp_path) == {"start": 3, "wait": 3, "input": 0.25, "other": 0.5}
    first, *_, last = lines(tmp_path)
    assert first["event"] == "start"
    assert before - 6.1 < first["time"] < after - 5.9
    assert (last["event"], last["text"]) == ("end", "finished")


def test_exchanged_seconds_are_taken_from_the_phase_in_which_they_passed(tmp_path, clock):
    timeline, exchanged = Timeline(clock), [0.0]
    timeline.keep_in(tmp_path, "worker 0")
    timeline.enter("other")
    timeline.exchange_s = lambda: exchanged[0]
    with timeline.during("compute"):
        clock.now += 4
        exchanged[0] += 1.5
    timeline.flush()
    assert total(tmp_path) == {"compute": 2.5, "exchange": 1.5}


def test_the_steps_of_the_first_call_are_no_compiling_once_their_time_is_known(tmp_path, clock):
    timeline = Timeline(clock)
    timeline.keep_in(tmp_path, "worker 0")
    timeline.resumed(0)
    spend(timeline, clock, "compute", 10, compiles=True)
    timeline.ran(50, 10)
    spend(timeline, clock, "compute", 2, compiles=True)
    timeline.ran(150, 2)
    timeline.flush()
    # 100 steps took 2 s, so the first 50 took 1 s of 10.
    assert total(tmp_path) == pytest.approx({"compile": 9, "compute": 3})


def test_a_line_is_written_once_a_second_and_later_in_a_start_less_often(tmp_path, clock):
    timeline = Timeline(clock)
    timeline.keep_in(tmp_path, "worker 0")
    timeline.resumed(0)

    def run(loops, seconds):
        before = len(lines(tmp_path))
        for _ in range(loops):
            spend(timeline, clock, "compute", seconds)
            timeline.ran(timeline._step + 10, seconds)
        return len(lines(tmp_path)) - before

    assert 9 <= run(100, 0.1) <= 11
    clock.now += 10_000
    assert 1 <= run(1000, 0.1) <= 3
    last = [line for line in lines(tmp_path) if "seconds" in line][-1]
    assert last["step"] % 10 == 0 and last["step"] > 5_000


def test_a_folder_that_cannot_be_written_is_one_warning_and_no_error(tmp_path, clock, caplog):
    timeline = Timeline(clock)
    timeline.keep_in(tmp_path / "missing", "worker 0")
    timeline.note("lost", "worker 1 was lost")
    timeline.end("finished")
    assert len(caplog.records) == 1


def test_without_a_folder_nothing_is_kept_and_nothing_fails(clock):
    timeline = Timeline(clock)
    spend(timeline, clock, "compute", 5)
    timeline.ran(5, 5)
    timeline.end("finished")


def test_a_start_after_half_a_line_begins_a_line_of_its_own(tmp_path, clock):
    timeline_lib.path_of(tmp_path, "chief 0").write_text('{"time": 3, "st')
    Timeline(clock).keep_in(tmp_path, "chief 0")
    text = timeline_lib.path_of(tmp_path, "chief 0").read_text()
    assert json.loads(text.splitlines()[1])["event"] == "start"


def test_this_process_is_older_than_its_timeline():
    assert 0 < timeline_lib._process_age_s() < 24 * 3600
