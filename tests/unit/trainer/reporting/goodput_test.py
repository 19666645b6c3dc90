"""Is a run's time added up over its starts, with what was lost and how long it was away?"""

import json

import pytest

from trainer.reporting import goodput


def write(folder, *records, task="worker-0"):
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    (folder / f"timeline-{task}.jsonl").write_text(text)


def start(time):
    return {"event": "start", "time": time}


def resume(time, step):
    return {"event": "resume", "time": time, "step": step}


def end(time, text="finished"):
    return {"event": "end", "time": time, "text": text}


def spent(time, step, **seconds):
    return {"time": time, "step": step, "seconds": seconds}


def of(folder):
    (found,) = goodput.of_run(folder)
    return found


def test_goodput_is_the_part_of_the_time_that_computes_and_exchanges(tmp_path):
    write(tmp_path, start(0), resume(2, 0), spent(10, 80, start=2, compute=5, exchange=3), end(10))
    found = of(tmp_path)
    assert (found.task, found.wall_s, found.starts) == ("worker 0", 10, 1)
    assert found.as_json() == {
        "goodput": 0.8,
        "wall_s": 10,
        "starts": 1,
        "seconds": {"start": 2, "compute": 5, "exchange": 3},
    }


def test_steps_after_the_one_resumed_at_are_lost_and_the_killed_start_is_away(tmp_path):
    write(
        tmp_path,
        start(0), resume(1, 0), spent(11, 100, start=1, compute=10), spent(21, 200, compute=10),
        start(24), resume(25, 150), spent(35, 250, start=1, compute=10), end(35),
    )  # fmt: skip
    seconds = of(tmp_path).seconds
    # Of the second piece's 100 steps half were repeated; 3 s passed between 21 and 24.
    assert seconds == {"start": 2, "compute": 25, "lost": 5, "away": 3}
    assert of(tmp_path).goodput == pytest.approx(25 / 35)
    assert of(tmp_path).starts == 2


def test_what_was_lost_once_is_not_lost_again(tmp_path):
    write(
        tmp_path,
        start(0), resume(0, 0), spent(10, 100, compute=10),
        start(10), resume(10, 50), spent(11, 60, compute=1),
        start(11), resume(11, 40), spent(12, 50, compute=1), end(12),
    )  # fmt: skip
    # Of the first 10 s those of the steps 40 to 100 are lost, and the whole of the second start.
    assert of(tmp_path).seconds == pytest.approx({"compute": 5, "lost": 7})


def test_the_pause_after_an_orderly_stop_does_not_count(tmp_path):
    write(
        tmp_path,
        start(0), resume(0, 0), spent(10, 100, compute=10), end(10, "stopped"),
        start(5000), resume(5000, 100), spent(5010, 200, compute=10), end(5010),
    )  # fmt: skip
    assert of(tmp_path).seconds == {"compute": 20}
    assert of(tmp_path).goodput == 1


def test_a_batch_that_is_skipped_loses_the_steps_since_the_checkpoint(tmp_path):
    write(
        tmp_path,
        start(0), resume(0, 0), spent(10, 10, compute=10), {"event": "skipped", "step": 7, "time": 10},
        resume(10, 5), spent(15, 10, compute=5), end(15),
    )  # fmt: skip
    found = of(tmp_path)
    assert found.seconds == {"compute": 10, "lost": 5}
    assert [(event.kind, event.step) for event in found.events if event.kind == "skipped"] == [
        ("skipped", 7)
    ]


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 9, b"[1]", b'{"time": "x"}', b'{"time": NaN}', b'{"time": 1, "step": {}}',
               b'{"time": 2, "seconds": [3]}', b'{"time": 2, "seconds": {"compute": "x"}}', b"[" * 99_999]
)  # fmt: skip
def test_a_damaged_line_is_left_out(tmp_path, damage):
    write(tmp_path, start(0), resume(0, 0), spent(10, 10, compute=10))
    path = tmp_path / "timeline-worker-0.jsonl"
    path.write_bytes(path.read_bytes() + damage + b"\n" + json.dumps(end(10)).encode())
    assert of(tmp_path).seconds == {"compute": 10}
    assert of(tmp_path).events[-1].kind == "end"


def test_the_task_that_writes_comes_first_and_the_others_by_number(tmp_path):
    for task in ("worker-10", "worker-2", "chief-0", "ps-0"):
        write(tmp_path, start(0), spent(1, 0, start=1), task=task)
    found = [one.task for one in goodput.of_run(tmp_path)]
    assert found == ["chief 0", "ps 0", "worker 2", "worker 10"]


def test_a_workdir_of_an_older_version_has_none(tmp_path):
    assert goodput.of_run(tmp_path) == []
