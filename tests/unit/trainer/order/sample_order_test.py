"""Does the sample order visit every example once an epoch, in the same order everywhere?"""

import collections
import hashlib
import itertools
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.paths import ROOT
from trainer.order.sample_order import PADDING, SampleOrder


def _epoch(num_examples, seed=0, epoch=0, **kwargs):
    order = SampleOrder(num_examples, 64, seed, **kwargs)
    return order.examples(epoch, np.arange(num_examples))


def _deviation(counts, expected, degrees_of_freedom):
    """Chi-squared against a uniform expectation, in standard deviations."""
    chi_squared = float(((np.asarray(counts) - expected) ** 2 / expected).sum())
    return (chi_squared - degrees_of_freedom) / math.sqrt(2 * degrees_of_freedom)


@settings(max_examples=60)
@given(st.integers(1, 5000), st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_an_epoch_visits_every_example_exactly_once(num_examples, seed, epoch):
    examples = _epoch(num_examples, seed, epoch)
    assert np.array_equal(np.sort(examples), np.arange(num_examples))


@pytest.mark.parametrize("num_examples", [1, 2, 15, 16, 17, 60000, 2**16, 2**20 + 1])
def test_sizes_at_the_limits_of_the_network_give_permutations_too(num_examples):
    assert np.array_equal(np.sort(_epoch(num_examples)), np.arange(num_examples))


@pytest.mark.parametrize(
    "num_examples, seed, epoch, first_ten",
    [
        (10, 0, 0, [4, 0, 6, 2, 8, 3, 1, 7, 5, 9]),
        (10, 0, 1, [6, 0, 4, 2, 9, 3, 5, 8, 1, 7]),
        (10, 1, 0, [1, 7, 9, 8, 4, 6, 0, 5, 3, 2]),
        (60000, 0, 0, [37824, 45163, 26583, 20630, 4604, 15457, 22387, 17638, 58556, 59824]),
        (60000, 42, 9, [32014, 48287, 58452, 52634, 7105, 3294, 5890, 53703, 49233, 50157]),
        (2**31 - 1, 7, 3, [430504169, 1327576536, 1097662706, 563832417, 780696409, 810257542]
         + [315145861, 1102579451, 1117638856, 1092155836]),
    ],
)  # fmt: skip
def test_the_order_is_the_one_that_earlier_runs_were_made_with(
    num_examples, seed, epoch, first_ten
):
    order = SampleOrder(num_examples, 64, seed)
    assert order.examples(epoch, np.arange(10)).tolist() == first_ten


def test_all_sixty_thousand_positions_are_the_ones_that_earlier_runs_were_made_with():
    digest = hashlib.sha256(_epoch(60000).astype("<i8").tobytes()).hexdigest()
    assert digest == "109f66f123f5f87a7d2718fa3d2a27ef4f9759ac9788cf9ba11220e70b8cc637"


@pytest.mark.parametrize("num_examples", [2, 3, 4, 5, 6])
def test_every_order_of_a_few_examples_is_equally_likely(num_examples):
    expected, num_orders = 20, math.factorial(num_examples)
    order = SampleOrder(num_examples, 1, seed=num_examples)
    seen = collections.Counter(
        tuple(order.examples(epoch, np.arange(num_examples)).tolist())
        for epoch in range(expected * num_orders)
    )
    counts = [seen[each] for each in itertools.permutations(range(num_examples))]
    assert abs(_deviation(counts, expected, num_orders - 1)) < 4


@pytest.mark.parametrize("num_examples", [16, 50, 150])
def test_every_example_is_equally_likely_at_every_position_and_after_every_other(num_examples):
    num_epochs = 4000
    at, after = np.zeros((2, num_examples, num_examples))
    for epoch in range(num_epochs):
        examples = _epoch(num_examples, 5, epoch)
        at[np.arange(num_examples), examples] += 1
        after[examples[:-1], examples[1:]] += 1
    pairs = after[~np.eye(num_examples, dtype=bool)]
    assert abs(_deviation(at, num_epochs / num_examples, (num_examples - 1) ** 2)) < 4
    assert abs(_deviation(pairs, num_epochs / num_examples, pairs.size - 1)) < 4


@pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 1}])
def test_neighbouring_epochs_and_seeds_agree_no_more_often_than_by_chance(other):
    """Two random permutations agree at one position on average, whatever their length."""
    agreements = [
        (_epoch(1000, 10 * i, 10 * i) == _epoch(1000, 10 * i + other.get("seed", 0),
                                                10 * i + other.get("epoch", 0))).sum()
        for i in range(400)
    ]  # fmt: skip
    assert abs(np.mean(agreements) - 1) < 4 / math.sqrt(400)


def test_without_shuffle_position_is_index():
    assert np.array_equal(_epoch(100, shuffle=False), np.arange(100))


def test_examples_keep_the_shape_of_the_positions():
    order = SampleOrder(100, 8, 0)
    positions = np.array([[3, 1], [4, 1], [5, 9]], np.int32)
    examples = order.examples(2, positions)
    assert examples.shape == (3, 2) and examples.dtype == np.int64
    assert np.array_equal(examples.ravel(), order.examples(2, np.arange(100))[positions.ravel()])
    assert order.examples(0, np.array([], np.int64)).shape == (0,)
    assert order.examples(0, 7).shape == ()


@pytest.mark.parametrize("position, received", [(-1, "-1 to 0"), (100, "0 to 100")])
def test_a_position_outside_the_epoch_is_an_error(position, received):
    with pytest.raises(IndexError, match=rf"in \[0, 100\)\. Received: {received}\.$"):
        SampleOrder(100, 8, 0).examples(0, np.array([0, position]))


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 350), st.integers(0, 40), st.integers(0, 40))
def test_batches_are_the_epochs_cut_up_and_padded(num_examples, batch_size, first_step, num_steps):
    order = SampleOrder(num_examples, batch_size, 3)
    batches = order.steps_batches(first_step, num_steps)
    assert batches.shape == (num_steps, batch_size) and batches.dtype == np.int32
    for step, batch in enumerate(batches, first_step):
        epoch, row = divmod(step, order.steps_per_epoch)
        examples = order.examples(epoch, np.arange(num_examples))
        expected = examples[row * batch_size :][:batch_size]
        padding = [PADDING] * (batch_size - len(expected))
        assert batch.tolist() == expected.tolist() + padding
        assert order.epoch_of(step) == epoch
        assert np.array_equal(order.step_batch(step), batch)


def test_a_batch_larger_than_the_data_set_holds_all_of_it_and_padding():
    batch = SampleOrder(5, 8, 0).step_batch(11)
    assert sorted(batch.tolist()) == [-1, -1, -1, 0, 1, 2, 3, 4]


def test_steps_above_the_cache_limit_are_computed_separately_and_equal_the_cached_ones(monkeypatch):
    cached = SampleOrder(1000, 64, 1).steps_batches(5, 40)
    monkeypatch.setattr("trainer.order.sample_order._CACHE_LIMIT", 999)
    assert np.array_equal(SampleOrder(1000, 64, 1).steps_batches(5, 40), cached)


def test_two_billion_examples_need_no_array_of_their_size():
    order = SampleOrder(2**31 - 1, 64, 0)
    last = order.step_batch(order.steps_per_epoch - 1)
    assert (last == PADDING).sum() == 1 and last.max() < 2**31 - 1


def test_threads_that_read_different_epochs_get_the_same_batches():
    order, results = SampleOrder(5000, 64, 0), [None] * 4

    def read(i):
        results[i] = np.concatenate([order.steps_batches(step, 7) for step in range(0, 300, 7)])

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = SampleOrder(5000, 64, 0).steps_batches(0, 301)
    assert all(np.array_equal(result, expected) for result in results)


def test_a_caller_cannot_change_the_cached_order():
    order = SampleOrder(100, 10, 0)
    with pytest.raises(ValueError, match="read-only"):
        order.step_batch(0)[0] = 7


@pytest.mark.parametrize(
    "num_examples, batch_size, message",
    [
        (0, 8, r"`num_examples` must be in \[1, 2\*\*31\). Received: 0."),
        (2**31, 8, r"`num_examples` must be in \[1, 2\*\*31\). Received: 2147483648."),
        (8, 0, "`global_batch_size` must be 1 or more. Received: 0."),
    ],
)
def test_invalid_sizes_are_refused(num_examples, batch_size, message):
    with pytest.raises(ValueError, match=message):
        SampleOrder(num_examples, batch_size, 0)


def test_the_sample_order_imports_no_tensorflow():
    code = "import sys, trainer.order.sample_order; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"
