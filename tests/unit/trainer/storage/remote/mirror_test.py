"""Is a bucket consistent at every moment, and is a fetched folder equal to it?"""

import json
import pathlib

import numpy as np
import pytest

from strategies.state import State
from trainer.storage.checkpoints import Checkpoint, CheckpointStore
from trainer.storage.layout import Layout
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT, Bucket
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.mirror import Mirror

LAYOUT = Layout(["kernel"], [["momentum"]])


@pytest.fixture
def remote(bucket):
    return Address.parse(f"{bucket.folder_url}/run").open()


def _mirror(local: pathlib.Path, remote: Bucket) -> Mirror:
    local.mkdir(exist_ok=True)
    return Mirror(local, remote, ".record.json", lambda name: not name.startswith("theirs"))


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _pushed(bucket) -> dict[str, bytes]:
    return {name: bucket.read(f"run/{name}") for name in bucket.names("run")}


def _store(folder: pathlib.Path) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", LAYOUT, keep=2)


def _save(folder: pathlib.Path, step: int) -> None:
    """What a run does: it reports, then saves, then removes the oldest checkpoint."""
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step}) + "\n")
    array = np.full([50], step, np.float32)
    _store(folder).save(Checkpoint(step, State([array], [[array]])))


def test_a_folder_that_was_pushed_is_fetched_on_another_machine(tmp_path, remote, bucket):
    mirror = _mirror(tmp_path / "a", remote)
    _save(tmp_path / "a", 10)
    (tmp_path / "a" / ".lock").touch()
    mirror.push()
    assert _pushed(bucket) == _files(tmp_path / "a")
    assert _mirror(tmp_path / "b", remote).fetch() == []
    assert _files(tmp_path / "b") == _files(tmp_path / "a")
    assert len(_files(tmp_path / "b")) == 3


def test_only_changed_files_are_pushed_again(tmp_path, remote, bucket):
    mirror = _mirror(tmp_path / "a", remote)
    _save(tmp_path / "a", 10)
    mirror.push()
    bucket.requests.clear()
    mirror.push()
    assert bucket.requests == []
    with open(tmp_path / "a" / "metrics.jsonl", "a") as file:
        file.write("more\n")
    mirror.push()
    assert len(bucket.requests) == 1
    assert _pushed(bucket) == _files(tmp_path / "a")


def test_the_next_process_knows_what_was_pushed(tmp_path, remote, bucket):
    _save(tmp_path, 10)
    _mirror(tmp_path, remote).push()
    bucket.requests.clear()
    _mirror(tmp_path, remote).push()
    assert bucket.requests == []


def test_after_every_write_the_bucket_has_a_run_that_can_resume(tmp_path, remote, bucket):
    """A process that is killed after the write leaves exactly this state."""
    mirror, found = _mirror(tmp_path / "a", remote), []

    def check() -> None:
        copy = bucket.copy("run", tmp_path / f"after-{len(found)}")
        newest = _store(copy).newest()
        lines = (copy / "metrics.jsonl").read_text().splitlines()
        reported = [json.loads(line)["step"] for line in lines]
        assert (
            newest is None or list(range(10, newest.step + 1, 10)) == reported[: newest.step // 10]
        )
        if newest:
            np.testing.assert_array_equal(newest.state.weights[0], np.full([50], newest.step))
        if (copy / "summary.json").exists():
            assert newest and newest.step == 60
        found.append(newest.step if newest else 0)

    bucket.after_write = check
    for step in range(10, 70, 10):
        _save(tmp_path / "a", step)
        if step == 60:
            (tmp_path / "a" / "summary.json").write_text("{}")
        mirror.push()
    assert found == sorted(found)
    assert {*found} == {0, 10, 20, 30, 40, 50, 60}
    assert _pushed(bucket) == _files(tmp_path / "a")


def test_a_trial_that_ends_during_a_push_is_reported_by_the_next_push(tmp_path, remote, bucket):
    """The ledger reports the end of a trial, so the trial's files must be pushed first."""
    mirror = _mirror(tmp_path, remote)
    (tmp_path / "ledger.jsonl").write_text("begun\n")
    (tmp_path / "other").write_text("")

    def end() -> None:
        bucket.after_write = lambda: None
        (tmp_path / "trial").write_text("weights")
        with open(tmp_path / "ledger.jsonl", "a") as file:
            file.write("ended\n")

    bucket.after_write = end
    mirror.push()
    assert _pushed(bucket) == {"ledger.jsonl": b"begun\n", "other": b""}
    mirror.push()
    assert _pushed(bucket) == _files(tmp_path)


def test_an_incomplete_checkpoint_is_not_fetched_but_named(tmp_path, remote):
    (tmp_path / "a").mkdir()
    _save(tmp_path / "a", 10)
    _mirror(tmp_path / "a", remote).push()
    partial = "checkpoints/step-0000000020/arrays.npz"
    remote.write(partial, b"...", ABSENT)
    mirror = _mirror(tmp_path / "b", remote)
    assert mirror.fetch() == [partial]
    assert _files(tmp_path / "b") == _files(tmp_path / "a")
    mirror.remove_remote(partial)
    assert partial not in remote.versions()


def test_a_fetch_removes_local_files_that_the_bucket_lacks(tmp_path, remote):
    local = tmp_path / "b"
    (tmp_path / "a").mkdir()
    _save(tmp_path / "a", 10)
    _mirror(tmp_path / "a", remote).push()
    local.mkdir()
    for step in (5, 15):
        _save(local, step)
    _mirror(local, remote).fetch()
    assert _files(local) == _files(tmp_path / "a")
    assert _store(local).steps() == [10]


def test_a_fetch_reads_only_new_objects(tmp_path, remote, bucket):
    (tmp_path / "a").mkdir()
    mirror, follower = _mirror(tmp_path / "a", remote), _mirror(tmp_path / "b", remote)
    for step in (10, 20):
        _save(tmp_path / "a", step)
        mirror.push()
        bucket.requests.clear()
        follower.fetch()
        assert len(bucket.requests) == 4  # The list, metrics, arrays and manifest.
    assert _files(tmp_path / "b") == _files(tmp_path / "a")


def test_a_file_that_was_changed_locally_is_fetched_again(tmp_path, remote):
    mirror = _mirror(tmp_path, remote)
    (tmp_path / "a").write_text("pushed")
    mirror.push()
    (tmp_path / "a").write_text("changed")
    mirror.fetch()
    assert (tmp_path / "a").read_text() == "pushed"


def test_a_push_after_trust_local_overwrites_the_bucket(tmp_path, remote, bucket):
    """As after a process that was killed between a write and the record of it."""
    mirror = _mirror(tmp_path, remote)
    (tmp_path / "a").write_text("old")
    mirror.push()
    remote.write("a", b"not recorded", remote.version("a"))
    remote.write("b", b"not recorded", ABSENT)
    (tmp_path / "c").write_text("new")
    again = _mirror(tmp_path, remote)
    again.trust_local()
    again.push()
    assert _pushed(bucket) == _files(tmp_path) == {"a": b"old", "c": b"new"}


def test_a_push_stops_where_another_process_has_written(tmp_path, remote):
    mirror = _mirror(tmp_path, remote)
    (tmp_path / "a").write_text("one")
    mirror.push()
    remote.write("a", b"theirs", remote.version("a"))
    (tmp_path / "a").write_text("two")
    with pytest.raises(PreconditionFailed):
        mirror.push()


def test_names_that_are_not_included_are_left_alone(tmp_path, remote, bucket):
    remote.write("theirs", b"", ABSENT)
    mirror = _mirror(tmp_path, remote)
    mirror.fetch()
    mirror.trust_local()
    mirror.push()
    assert _pushed(bucket) == {"theirs": b""}
    assert _files(tmp_path) == {}


def test_a_folder_from_which_files_were_removed_is_not_complete(tmp_path, remote):
    mirror = _mirror(tmp_path, remote)
    for step in (10, 20, 30):
        _save(tmp_path, step)
    mirror.push()
    assert mirror.is_complete()
    _save(tmp_path, 40)  # It replaces the oldest.
    assert mirror.is_complete()
    for path in (tmp_path / "checkpoints").glob("step-*/manifest.json"):
        path.unlink()
    assert not mirror.is_complete()
    mirror.fetch()
    (tmp_path / "metrics.jsonl").unlink()
    assert not mirror.is_complete()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": [1, 2, 3, 4, 5, 6]}'])
def test_after_a_damaged_record_everything_is_compared_again(tmp_path, remote, bucket, content):
    (tmp_path / "a").write_text("here")
    _mirror(tmp_path, remote).push()
    (tmp_path / ".record.json").write_text(content)
    again = _mirror(tmp_path, remote)
    again.trust_local()
    again.push()
    assert _pushed(bucket) == {"a": b"here"}
