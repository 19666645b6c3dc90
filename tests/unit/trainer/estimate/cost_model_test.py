"""Does the cost model add up what was measured as its formulas say?"""

import dataclasses
import math

import numpy as np
import pytest

from trainer.estimate import cost_model
from trainer.estimate.cost_model import Calibration, CostModel, Sizes, Variant, Work, largest_of
from trainer.estimate.traffic import Link

MEASURED = Calibration(
    call_s=0.001,
    example_s=0.001,
    spread=0.0,
    turn_s=0.002,
    agree_s=0.003,
    code_s={"int8": 0.005},
    message_s=0.0,
    byte_s=0.0,
    window_s=0.010,
)
SIZES = Sizes(gradients=1000, update=1000, messages={"int8": 1000}, values=2000, sums=3)
WORK = Work(batch=64, blocks=4, replicas=4)
FAST = Link(1e15, 0.0)
MODEL = CostModel(MEASURED, SIZES, WORK, FAST)
GRADIENTS, EVERY_10 = Variant("gradients"), Variant("parameters", interval=10)


def test_gradients_take_the_largest_share_of_the_blocks_and_the_turn():
    row = MODEL.row(GRADIENTS, 3)  # 2 + 1 + 1 blocks.
    assert row.compute_s == pytest.approx(0.001 + 32 * 0.001 + 0.002)
    assert row.examples_per_s == pytest.approx(64 / 0.035)
    assert row.efficiency == pytest.approx(0.065 / 0.035 / 3)
    assert MODEL.row(GRADIENTS, 5) is None  # There are 4 blocks.


def test_one_worker_has_nothing_to_exchange():
    row = MODEL.row(GRADIENTS, 1)
    assert (row.exchange_s, row.straggler_s, row.traffic.sent_bytes) == (0, 0, 0)
    assert row.efficiency == pytest.approx(1)


def test_replicas_agree_once_an_interval_and_a_worker_carries_several():
    row = MODEL.row(EVERY_10, 2)
    assert row.compute_s == pytest.approx(2 * 10 * (0.001 + 16 * 0.001) + 0.003)
    assert row.examples_per_s == pytest.approx(640 / row.compute_s)
    coded = MODEL.row(Variant("parameters", "int8", 10), 2)
    assert coded.compute_s == pytest.approx(row.compute_s + 4 * 0.005)  # Everyone decodes all.
    assert MODEL.row(EVERY_10, 5) is None  # 64 examples do not divide among 5 replicas.


def test_replicas_also_agree_at_the_end_of_an_epoch():
    work = dataclasses.replace(WORK, examples=1500)  # 24 steps: after the 10th, 20th and 24th.
    row = dataclasses.replace(MODEL, work=work).row(EVERY_10, 2)
    assert row.compute_s == pytest.approx(2 * 8 * (0.001 + 16 * 0.001) + 0.003)
    assert row.examples_per_s == pytest.approx(512 / row.compute_s)


def test_a_longer_interval_pays_for_a_slow_link():
    slow = dataclasses.replace(MODEL, link=Link(1e6, 0.01))
    row = slow.row(EVERY_10, 2)
    # Two replicas of a worker are a branch of the tree: the workers swap one vector each.
    assert row.exchange_s == pytest.approx(0.01 + 4000 * 8 * 1538 / 1448 / 1e6)
    shortest = row.shortest_interval
    at = [slow.row(dataclasses.replace(EVERY_10, interval=n), 2) for n in (shortest, shortest // 2)]
    assert at[0].efficiency >= 0.5 > at[1].efficiency


def test_each_worker_may_have_a_batch_of_its_own():
    grows = dataclasses.replace(MODEL, work=dataclasses.replace(WORK, grows=True))
    row = grows.row(GRADIENTS, 1024)
    assert row.examples_per_s == pytest.approx(1024 * 64 / (0.065 + 0.002), rel=1e-3)
    assert grows.row(EVERY_10, 1024).examples_per_s == pytest.approx(
        1024 * 640 / (0.65 + 0.003), rel=1e-3
    )


def test_clients_that_do_not_divide_among_workers_leave_some_idle():
    work = Work(10, 1, 4, clients=10, client_steps=6, shares=100)
    model = dataclasses.replace(MODEL, work=work)
    row = model.row(Variant("federated", interval=6), 4)  # 3 + 3 + 2 + 2 clients.
    assert row.compute_s == pytest.approx(3 * 6 * (0.001 + 10 * 0.001) + 0.003)
    assert row.examples_per_s == pytest.approx(10 * 10 * 6 / row.compute_s)
    assert model.row(Variant("federated", interval=6), 101) is None


def test_windows_wait_for_the_link_of_the_servers():
    window = Variant("async_window", interval=20)
    own = 20 * 0.065 + 0.010
    assert MODEL.row(window, 8).examples_per_s == pytest.approx(8 * 20 * 64 / own, rel=1e-6)
    slow = dataclasses.replace(MODEL, link=Link(1e6, 0.0))
    push_s = 4 * 2003 * 8 * 1538 / 1448 / 1e6
    both_s = push_s * 4003 / 2003  # With the pull, of 2,000 numbers.
    for workers in (1, 2, 1000):  # All are at the link at once.
        found = slow.row(window, workers).examples_per_s
        assert found == pytest.approx(workers * 20 * 64 / (own + workers * both_s))
    servers = dataclasses.replace(slow, work=dataclasses.replace(WORK, servers=2))
    # The links of two servers carry the windows of two workers as fast as these send them.
    assert servers.row(window, 2).straggler_s == 0 < servers.row(window, 3).straggler_s
    unmeasured = dataclasses.replace(MODEL, measured=dataclasses.replace(MEASURED, window_s=None))
    assert unmeasured.row(window, 2) is None


def test_all_wait_for_the_slowest_of_them():
    model = dataclasses.replace(MODEL, measured=dataclasses.replace(MEASURED, spread=0.1))
    row = model.row(GRADIENTS, 2)
    assert row.straggler_s == pytest.approx(0.1 * row.compute_s / math.sqrt(math.pi))
    round_ = model.row(EVERY_10, 4)  # Of ten steps, whose deviations partly cancel.
    assert round_.straggler_s == pytest.approx(
        largest_of(4) * 0.1 * round_.compute_s / math.sqrt(10)
    )


@pytest.mark.parametrize("number", [3, 64, 1024])
def test_the_expected_maximum_is_that_of_drawn_numbers(number):
    drawn = np.random.default_rng(0).normal(size=(4000, number)).max(axis=1)
    # The standard deviation of a maximum is below 1, so that of this mean is below 1 / 63.
    assert largest_of(number) == pytest.approx(drawn.mean(), abs=4 / 63)
    assert largest_of(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-4)


def test_the_best_row_is_the_fastest_that_is_efficient_enough():
    rows = [MODEL.row(GRADIENTS, workers) for workers in (1, 2, 4)]
    assert cost_model.best(rows).workers == 4
    slow = dataclasses.replace(MODEL, link=Link(1e6, 0.01))
    rows = [slow.row(GRADIENTS, workers) for workers in (1, 2, 4)]
    assert [row.efficiency >= 0.5 for row in rows] == [True, False, False]
    assert cost_model.best(rows).workers == 1
