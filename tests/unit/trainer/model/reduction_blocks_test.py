"""Has the sum of a batch's blocks the same bits on any number of replicas?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.model import reduction_blocks


def _config(batch, wanted):
    overrides = {"data.global_batch_size": str(batch), "train.reduction_blocks": str(wanted)}
    return config_load.resolve("digits_dense", overrides)


def _terms(count):
    """Random numbers of very different magnitudes: their sum depends on its order."""
    rng = np.random.default_rng(count)
    return [
        ([(rng.normal(size=7) * 10.0 ** rng.integers(-6, 6, 7)).astype(np.float32)], np.float32(i))
        for i in range(count)
    ]


@given(st.integers(1, 64), st.integers(1, 64))
def test_replicas_that_share_the_blocks_give_the_bits_of_one(count, replicas):
    if not reduction_blocks.fits(count, replicas, any_runs=False):
        return
    terms, each = _terms(count), count // replicas
    shares = [reduction_blocks.add(terms[r * each : (r + 1) * each]) for r in range(replicas)]
    (whole,), sums = reduction_blocks.add(terms)
    (together,), sums_together = reduction_blocks.add(shares)
    assert whole.tobytes() == together.tobytes()
    assert sums == sums_together == count * (count - 1) / 2


def test_another_order_would_give_other_bits():
    terms = _terms(8)
    (whole,), _ = reduction_blocks.add(terms)
    (other,), _ = reduction_blocks.add(terms[::2] + terms[1::2])
    assert whole.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    "count, replicas, fits",
    [(4, 1, True), (4, 2, True), (4, 4, True), (4, 3, False), (4, 8, False), (12, 3, True),
     (12, 6, True), (12, 2, False), (12, 1, True), (1, 1, True)],
)  # fmt: skip
def test_where_tensorflow_adds_a_replica_holds_a_power_of_two_of_the_blocks(count, replicas, fits):
    assert reduction_blocks.fits(count, replicas, any_runs=False) == fits
    assert reduction_blocks.fits(count, replicas, any_runs=True) == (replicas <= count)


@pytest.mark.parametrize(
    "batch, count",
    [
        (64, 4),
        (48, 4),
        (50, 2),
        (33, 1),
        (1, 1),
        (512, 4),
        (1024, 8),
        (1032, 8),
        (4096, 32),
        (1 << 20, 64),
    ],
)
def test_the_batch_decides_the_number_of_blocks_where_the_config_does_not(batch, count):
    assert reduction_blocks.num_blocks(batch, 0) == count


def test_the_config_decides_the_number_of_blocks():
    assert reduction_blocks.num_blocks(64, 8) == 8


def test_blocks_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ConfigError) as caught:
        _config(64, 12)
    assert str(caught.value) == (
        "`train.reduction_blocks` must divide the global batch evenly. Received: 12 for "
        "`data.global_batch_size` 64; try 4."
    )


@pytest.mark.parametrize("any_runs", [False, True])
def test_a_batch_of_no_blocks_for_the_replicas_is_shared_evenly(any_runs):
    reduction_blocks.check(40, 0, 5, any_runs)  # 4 blocks of 10; shares of 8.
    with pytest.raises(ConfigError) as caught:
        reduction_blocks.check(64, 0, 5, any_runs)
    more = ", or --config.train.reduction_blocks=8" if any_runs else ""
    assert str(caught.value) == (
        "`data.global_batch_size` must divide evenly among replicas. Received: 64 for 5 replicas; try 60 "
        f"or 65{more}."
    )


def test_a_huge_batch_of_a_prime_size_is_refused_at_once():
    with pytest.raises(ConfigError, match="for 2 replicas; try 2147483646 or 2147483648\\."):
        reduction_blocks.check(2**31 - 1, 0, 2, any_runs=True)


def test_blocks_that_the_replicas_cannot_share_are_refused_only_if_asked_for():
    reduction_blocks.check(48, 0, 3, any_runs=False)
    reduction_blocks.check(48, 8, 3, any_runs=True)
    with pytest.raises(ConfigError) as caught:
        reduction_blocks.check(48, 8, 3, any_runs=False)
    assert "the number of replicas times a power of two. Received: 8 for 3 replicas" in str(
        caught.value
    )
    with pytest.raises(ConfigError) as caught:
        reduction_blocks.check(48, 8, 12, any_runs=True)
    assert "at least the number of replicas. Received: 8 for 12 replicas" in str(caught.value)


def test_a_batch_is_split_into_its_blocks_in_order():
    batch = np.arange(12).reshape(6, 2), np.arange(6)
    parts = reduction_blocks.split(batch, 2)
    assert [targets.tolist() for _, targets in parts] == [[0, 1], [2, 3], [4, 5]]
    assert parts[1][0].tolist() == [[4, 5], [6, 7]]
    assert reduction_blocks.split(batch, 0) == [batch]
