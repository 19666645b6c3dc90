"""Is a bucket at every moment of one piece, and a folder made like it?"""

import json
import pathlib

import numpy as np
import pytest

from strategies.runtime import State
from tests.bucket_server import BUCKET
from trainer.storage.checkpoints import Checkpoint, CheckpointStore, Layout
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.gcs import Address, Objects
from trainer.storage.remote.mirror import Mirror

LAYOUT = Layout(["kernel"], [["momentum"]])


@pytest.fixture
def objects(bucket):
    return Objects(Address.parse(f"gs://{BUCKET}/run"))


def _mirror(here: pathlib.Path, objects: Objects) -> Mirror:
    here.mkdir(exist_ok=True)
    return Mirror(here, objects, ".record.json", lambda name: not name.startswith("theirs"))


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _there(bucket) -> dict[str, bytes]:
    return {name: bucket.read(f"run/{name}") for name in bucket.names("run")}


def _store(folder: pathlib.Path) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", LAYOUT, keep=2)


def _save(folder: pathlib.Path, step: int) -> None:
    """What a run does: it reports, then saves, then forgets the oldest."""
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step}) + "\n")
    array = np.full([50], step, np.float32)
    _store(folder).save(Checkpoint(step, State([array], [[array]])))


def test_what_is_here_comes_to_be_there_and_elsewhere(tmp_path, objects, bucket):
    mirror = _mirror(tmp_path / "a", objects)
    _save(tmp_path / "a", 10)
    (tmp_path / "a" / ".lock").touch()
    mirror.push()
    assert _there(bucket) == _files(tmp_path / "a")
    assert _mirror(tmp_path / "b", objects).fetch() == []
    assert _files(tmp_path / "b") == _files(tmp_path / "a")
    assert len(_files(tmp_path / "b")) == 3


def test_only_what_changed_is_written_again(tmp_path, objects, bucket):
    mirror = _mirror(tmp_path / "a", objects)
    _save(tmp_path / "a", 10)
    mirror.push()
    bucket.requests.clear()
    mirror.push()
    assert bucket.requests == []
    with open(tmp_path / "a" / "metrics.jsonl", "a") as file:
        file.write("more\n")
    mirror.push()
    assert len(bucket.requests) == 1
    assert _there(bucket) == _files(tmp_path / "a")


def test_another_process_here_knows_what_was_alike(tmp_path, objects, bucket):
    _save(tmp_path, 10)
    _mirror(tmp_path, objects).push()
    bucket.requests.clear()
    _mirror(tmp_path, objects).push()
    assert bucket.requests == []


def test_after_every_single_request_the_bucket_holds_a_run_that_can_go_on(
    tmp_path, objects, bucket
):
    """Whoever is killed then leaves exactly that behind."""
    mirror, found = _mirror(tmp_path / "a", objects), []

    def look() -> None:
        copy = bucket.copy("run", tmp_path / f"after-{len(found)}")
        newest = _store(copy).newest()
        told = (copy / "metrics.jsonl").read_text().splitlines()
        known = [json.loads(line)["step"] for line in told]
        assert newest is None or list(range(10, newest.step + 1, 10)) == known[: newest.step // 10]
        if newest:
            np.testing.assert_array_equal(newest.state.weights[0], np.full([50], newest.step))
        if (copy / "summary.json").exists():
            assert newest.step == 60
        found.append(newest.step if newest else 0)

    bucket.after_write = look
    for step in range(10, 70, 10):
        _save(tmp_path / "a", step)
        if step == 60:
            (tmp_path / "a" / "summary.json").write_text("{}")
        mirror.push()
    assert found == sorted(found)
    assert {*found} == {0, 10, 20, 30, 40, 50, 60}
    assert _there(bucket) == _files(tmp_path / "a")


def test_what_ends_while_it_is_pushed_is_told_only_by_the_next_push(tmp_path, objects, bucket):
    """A ledger tells of a trial's end, whose files must be there first."""
    mirror = _mirror(tmp_path, objects)
    (tmp_path / "ledger.jsonl").write_text("begun\n")
    (tmp_path / "other").write_text("")

    def end() -> None:
        bucket.after_write = lambda: None
        (tmp_path / "trial").write_text("weights")
        with open(tmp_path / "ledger.jsonl", "a") as file:
            file.write("ended\n")

    bucket.after_write = end
    mirror.push()
    assert _there(bucket) == {"ledger.jsonl": b"begun\n", "other": b""}
    mirror.push()
    assert _there(bucket) == _files(tmp_path)


def test_half_a_checkpoint_there_is_not_fetched_and_is_named(tmp_path, objects):
    (tmp_path / "a").mkdir()
    _save(tmp_path / "a", 10)
    _mirror(tmp_path / "a", objects).push()
    half = "checkpoints/step-0000000020/arrays.npz"
    objects.write(half, b"...", 0)
    mirror = _mirror(tmp_path / "b", objects)
    assert mirror.fetch() == [half]
    assert _files(tmp_path / "b") == _files(tmp_path / "a")
    mirror.remove(half)
    assert half not in objects.generations()


def test_what_is_here_and_not_there_is_gone_after_a_fetch(tmp_path, objects):
    here = tmp_path / "b"
    (tmp_path / "a").mkdir()
    _save(tmp_path / "a", 10)
    _mirror(tmp_path / "a", objects).push()
    here.mkdir()
    for step in (5, 15):
        _save(here, step)
    _mirror(here, objects).fetch()
    assert _files(here) == _files(tmp_path / "a")
    assert _store(here).steps() == [10]


def test_a_fetch_brings_only_what_is_new_there(tmp_path, objects, bucket):
    (tmp_path / "a").mkdir()
    mirror, follower = _mirror(tmp_path / "a", objects), _mirror(tmp_path / "b", objects)
    for step in (10, 20):
        _save(tmp_path / "a", step)
        mirror.push()
        bucket.requests.clear()
        follower.fetch()
        assert len(bucket.requests) == 4  # The list, metrics, arrays and manifest.
    assert _files(tmp_path / "b") == _files(tmp_path / "a")


def test_what_changed_here_since_is_fetched_again(tmp_path, objects):
    mirror = _mirror(tmp_path, objects)
    (tmp_path / "a").write_text("pushed")
    mirror.push()
    (tmp_path / "a").write_text("changed")
    mirror.fetch()
    assert (tmp_path / "a").read_text() == "pushed"


def test_the_newer_side_wins_whatever_the_other_has(tmp_path, objects, bucket):
    """As after a process that was killed between a write and the note of it."""
    mirror = _mirror(tmp_path, objects)
    (tmp_path / "a").write_text("old")
    mirror.push()
    objects.write("a", b"not noted", objects.generation("a"))
    objects.write("b", b"not noted", 0)
    (tmp_path / "c").write_text("new")
    again = _mirror(tmp_path, objects)
    again.adopt()
    again.push()
    assert _there(bucket) == _files(tmp_path) == {"a": b"old", "c": b"new"}


def test_what_somebody_else_wrote_there_stops_a_push(tmp_path, objects):
    mirror = _mirror(tmp_path, objects)
    (tmp_path / "a").write_text("one")
    mirror.push()
    objects.write("a", b"theirs", objects.generation("a"))
    (tmp_path / "a").write_text("two")
    with pytest.raises(PreconditionFailed):
        mirror.push()


def test_what_does_not_concern_it_is_left_alone(tmp_path, objects, bucket):
    objects.write("theirs", b"", 0)
    mirror = _mirror(tmp_path, objects)
    mirror.fetch()
    mirror.adopt()
    mirror.push()
    assert _there(bucket) == {"theirs": b""}
    assert _files(tmp_path) == {}


def test_a_folder_that_somebody_tidied_up_is_not_complete(tmp_path, objects):
    mirror = _mirror(tmp_path, objects)
    for step in (10, 20, 30):
        _save(tmp_path, step)
    mirror.push()
    assert mirror.is_complete()
    _save(tmp_path, 40)  # It takes the place of the oldest.
    assert mirror.is_complete()
    for path in (tmp_path / "checkpoints").glob("step-*/manifest.json"):
        path.unlink()
    assert not mirror.is_complete()
    mirror.fetch()
    (tmp_path / "metrics.jsonl").unlink()
    assert not mirror.is_complete()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": [1, 2, 3, 4, 5, 6]}'])
def test_a_damaged_record_only_costs_another_look(tmp_path, objects, bucket, content):
    (tmp_path / "a").write_text("here")
    _mirror(tmp_path, objects).push()
    (tmp_path / ".record.json").write_text(content)
    again = _mirror(tmp_path, objects)
    again.adopt()
    again.push()
    assert _there(bucket) == {"a": b"here"}
