"""Do weights, slots and counts come back from a shard's vectors as they were?"""

import numpy as np
import tensorflow as tf

from strategies.parameter_server.layout import Layout


def _slots(iteration, rate, moment):
    return [np.asarray(iteration, np.int64), np.float32(rate), np.asarray(moment, np.float32)]


def test_an_iteration_count_moves_by_the_steps_that_moved_it():
    layout = Layout(np.zeros(3, np.float32), _slots(0, 0.1, [0, 0, 0]), num_ints=2)
    assert layout.counts(_slots(4, 0.1, [])).numpy().tolist() == [4]
    assert layout.own_counts(np.array([4, 5, 6])).tolist() == [4, 5, 6]
    elsewhere = Layout(np.zeros(3, np.float32), _slots(0, 0.1, [0, 0, 0]))
    assert elsewhere.own_counts(np.array([4, 5, 6])).tolist() == [4]


def test_unpacking_a_layout_returns_the_same_weights_and_slots():
    weights, slots = np.array([1, 2, 3], np.float32), _slots(17, 0.5, [4, 5, 6])
    layout = Layout(weights, slots)
    values, counts = layout.arrays(weights, slots)
    assert values.tolist() == [1, 2, 3, 0.5, 4, 5, 6] and counts.tolist() == [17]
    back = [part.numpy() for part in layout.unpack(tf.constant(values), tf.constant(counts))]
    for found, given in zip(back, (weights, *slots), strict=True):
        assert np.array_equal(found, given) and found.dtype == given.dtype
    assert layout.pack(*back).numpy().tolist() == values.tolist()
