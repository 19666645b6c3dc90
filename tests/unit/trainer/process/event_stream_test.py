"""Do events reach the program that reads them, and does nothing wait for one that is gone?"""

import json
import os
import time

import pytest

from trainer.process import console, event_stream, report
from trainer.process.event_stream import MARK, EventStream


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass  # The test has closed it.


def _lines(reading):
    return os.read(reading, 1 << 16).decode().removesuffix("\n").split("\n")


def test_an_event_is_one_line_with_its_time(pipe):
    reading, writing = pipe
    assert EventStream(writing, "").write({"event": "train", "message": "two\nlines"})
    (line,) = _lines(reading)
    event = json.loads(line)
    assert event.pop("time") == pytest.approx(time.time(), abs=60)
    assert event == {"event": "train", "message": "two\nlines"}
    assert event_stream.parse(line) is None, "without its mark it is any line that a task prints"


def test_a_marked_event_is_told_from_other_lines(pipe):
    reading, writing = pipe
    EventStream(writing, MARK).write({"event": "train", "loss": float("nan")})
    (line,) = _lines(reading)
    assert event_stream.parse(line)["loss"] is None
    for odd in ("", MARK, f"{MARK}{{", f'{MARK}["event"]', f'{MARK}{{"event": 1}}', "a line"):
        assert event_stream.parse(odd) is None


def test_the_end_is_written_once(pipe):
    reading, writing = pipe
    stream = EventStream(writing, "")
    stream.end({"exit_code": 2})
    stream.end({"exit_code": 0})
    assert [json.loads(line)["exit_code"] for line in _lines(reading)] == [2]


def test_a_reader_that_is_gone_is_no_fault(pipe):
    reading, writing = pipe
    os.close(reading)
    stream = EventStream(writing, "")
    assert not stream.write({"event": "train"})
    assert not stream.write({"event": "train"})


def test_a_view_that_reads_nothing_is_given_up_and_progress_waits_for_nobody(pipe, monkeypatch):
    monkeypatch.setattr(console, "PATIENCE_S", 0.3)
    _, writing = pipe
    stream = EventStream(writing, MARK)
    began = time.monotonic()
    for _ in range(3000):
        stream.write({"event": "progress", "doing": "x" * 100}, may_wait=False)
    assert time.monotonic() - began < 30
    assert not stream.write({"event": "train"})


def test_progress_is_written_whenever_it_has_changed(pipe):
    reading, writing = pipe
    stream = event_stream.start(writing, MARK)
    try:
        event_stream.follow_progress()
        for doing in ("one", "two"):
            report.progress(doing, step=1)
            (line,) = _lines(reading)
            assert event_stream.parse(line).items() >= {"doing": doing, "step": 1}.items()
    finally:
        event_stream.stop()
    assert not event_stream.is_on() and not stream.write({"event": "late"})
