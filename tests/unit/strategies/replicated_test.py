"""Does a replicated runtime keep state, sums and the order of its replicas' batches?"""

import numpy as np
import pytest
import tensorflow as tf

from strategies.replicated import ReplicatedRuntime
from strategies.state import State


class _Runtime(ReplicatedRuntime):
    """Without steps."""

    name = "under test"

    @classmethod
    def create(cls, choice, cluster, devices, peers):
        raise NotImplementedError

    def run(self, first_step, num_steps, elements, stop):
        raise NotImplementedError

    def evaluate_blocks(self, elements):
        return np.full((1, _Program.num_sums), elements, np.float32)


class _Program:
    num_sums = 3


class _Input:
    resident = (np.arange(6),)


def _state(value):
    weights = [np.full((2, 3), value, np.float32), np.full(3, value, np.float32)]
    slots = [[np.array(7, np.int64), weight + 1] for weight in weights]
    return State(weights, slots, [np.float32([value, 2]), np.array([5, 2**40], np.int64)])


@pytest.fixture
def runtime():
    """Three replicas that share the CPU."""
    one = tf.distribute.MirroredStrategy(["CPU:0"])
    runtime = _Runtime("a test", one, replicas_per_device=3)
    runtime.start(_Program(), _state(1), _Input(), _Input(), 10)
    return runtime


def test_replicas_that_share_a_device_count_as_replicas(runtime):
    assert runtime.num_replicas == 3 and runtime.local_replicas == range(3)
    assert len(runtime.devices) == 1 and runtime.device_type == "CPU"


def test_a_restored_state_is_read_back_bit_for_bit(runtime):
    runtime.restore(_state(0.1))
    found, expected = runtime.state(), _state(0.1)
    for mine, theirs in zip(
        tf.nest.flatten(found.parts),
        tf.nest.flatten(expected.parts),
        strict=True,
    ):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)


def test_collect_adds_the_pending_sums_in_float64_and_once(runtime):
    runtime.pending += [tf.constant([2.0**24, 1, 1]), tf.constant([1.0, 2, 3])]
    assert runtime.collect().tolist() == [2**24 + 1, 3, 4]  # float32 has no 2**24 + 1.
    assert runtime.collect().tolist() == [0, 0, 0]


def test_the_blocks_of_an_evaluation_are_in_the_order_of_its_batches(runtime):
    blocks = runtime.evaluate(iter([1, 2]))
    assert blocks.dtype == np.float64 and blocks.tolist() == [[1, 1, 1], [2, 2, 2]]


def test_replicas_batches_are_joined_side_by_side_and_split_into_blocks_in_their_order(runtime):
    elements = tuple((np.array([[10 * r, 10 * r + 1], [100 + r, 0]]),) for r in range(3))
    (joined,) = runtime.join_replicas(elements)
    assert joined[0].numpy().tolist() == [[0, 1, 10, 11, 20, 21], [100, 0, 101, 0, 102, 0]]
    (rows,) = runtime.split_blocks(joined, 3)
    assert rows.numpy().tolist() == [[0, 1], [10, 11], [20, 21], [100, 0], [101, 0], [102, 0]]
