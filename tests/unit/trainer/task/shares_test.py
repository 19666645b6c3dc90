"""Does a run keep its shares, whatever happens to the record of them?"""

import json

import numpy as np
import pytest

from trainer.config.schema import DataConfig, ExperimentConfig, TrainConfig
from trainer.data import registry
from trainer.order import partition
from trainer.order.errors import PartitionError
from trainer.storage import saved_partition
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir
from trainer.task import shares

DIGITS = registry.load(DataConfig())


def _config(method="random", count=6, seed=0):
    data = DataConfig(partition=method, partitions=count)
    return ExperimentConfig(data=data, train=TrainConfig(seed=seed))


@pytest.fixture
def begun(tmp_path):
    """The workdir of a run with six random shares, and one checkpoint."""
    workdir = Workdir(tmp_path)
    shares.record(shares.prepare(_config(), DIGITS, workdir), workdir)
    (workdir.checkpoints / "step-0000000001").mkdir(parents=True)
    return workdir


def test_a_run_without_a_partition_has_no_shares_and_stores_none(tmp_path):
    dataset = shares.prepare(_config("none", 0), DIGITS, Workdir(tmp_path))
    shares.record(dataset, Workdir(tmp_path))
    assert dataset is DIGITS and not [*tmp_path.iterdir()]


def test_the_shares_of_a_run_are_read_again_and_not_made_again(begun, monkeypatch):
    wanted = partition.of(_config(), DIGITS)
    monkeypatch.setattr(partition, "of", lambda *unused: pytest.fail("they were made again"))
    found = shares.prepare(_config(), DIGITS, begun).partition
    assert found.sha256 == wanted.sha256 and found.description == "random"
    described = json.loads((begun.partition / "shares.json").read_text())
    assert described["sizes"] == wanted.sizes == [249, 250, 249, 250, 249, 250]
    assert np.load(begun.partition / "assignment.npy").dtype == np.uint8


@pytest.mark.parametrize("damage", ["cut", "other", "missing", "text"])
def test_shares_that_are_damaged_are_made_again_where_they_are_the_same(begun, damage):
    file = begun.partition / "assignment.npy"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:200])
    elif damage == "other":
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # Another share.
    elif damage == "text":
        file.write_text("no array")
    else:
        file.unlink()
    dataset = shares.prepare(_config(), DIGITS, begun)
    assert dataset.partition.sha256 == partition.of(_config(), DIGITS).sha256
    with pytest.raises(WorkdirError, match="begun with other shares of the data, sha256"):
        shares.prepare(_config(seed=1), DIGITS, begun)


def test_a_run_whose_shares_are_lost_is_refused_once_it_has_checkpoints(begun):
    for file in begun.partition.iterdir():
        file.unlink()
    with pytest.raises(WorkdirError, match="which are missing there.* restore partition/ in it"):
        shares.prepare(_config(), DIGITS, begun)
    (begun.checkpoints / "step-0000000001").rmdir()
    assert shares.prepare(_config(), DIGITS, begun).partition is not None


def test_shares_of_other_data_are_not_taken(begun):
    assert saved_partition.read(begun.partition, len(DIGITS.train)) is not None
    assert saved_partition.read(begun.partition, len(DIGITS.train) - 1) is None


class _Leader:
    """Broadcasts what the first task gave, as the runtimes of a cluster do."""

    def __init__(self):
        self.sent = []

    def broadcast(self, values):
        self.sent.append(values)
        return values


class _Follower:
    def __init__(self, leader):
        self._values = iter(leader.sent)

    def broadcast(self, values):
        found = next(self._values)
        assert (found.shape, found.dtype) == (values.shape, values.dtype)
        return found


@pytest.mark.parametrize("count", [1, 6, 300])
def test_every_task_has_the_leaders_shares(count):
    leader = _Leader()
    config = _config(count=count)
    mine = shares.hand_out(config, shares.prepare(config, DIGITS, None), leader).partition
    theirs = shares.hand_out(config, DIGITS, _Follower(leader)).partition
    assert theirs.sha256 == mine.sha256 == partition.of(config, DIGITS).sha256
    assert shares.hand_out(_config("none", 0), DIGITS, leader) is DIGITS


def test_what_cannot_be_divided_ends_before_anything_is_stored(tmp_path):
    with pytest.raises(PartitionError):
        shares.prepare(_config(count=10**6), DIGITS, Workdir(tmp_path))
    assert not [*tmp_path.iterdir()]
