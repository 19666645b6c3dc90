"""Do replicas that train apart compute what the formulas say?

They are compared with training that takes every step together, in exact arithmetic, where the two are
equal in theory.
"""

import dataclasses

import numpy as np
import pytest

from strategies.sync.channel import Channel
from tests.cluster import reference
from tests.unit.trainer.training.in_process import train
from trainer.config.load import override, resolve
from trainer.data import registry
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.training import agreements
from trainer.training.nonfinite import NonFiniteError

EXAMPLES, BATCH, STEPS = 106, 48, 5
COMMON = {
    "data.train_examples": str(EXAMPLES),
    "data.global_batch_size": str(BATCH),
    "model.hidden_units": "16",
    "optimizer.name": "sgd",
    "optimizer.learning_rate": "0.1",
    "train.epochs": "2",
    "train.steps": str(STEPS),
    "train.eval_every_epochs": "0",
}
AVERAGING = {"sync.mode": "parameters", "sync.replicas": "4", "sync.every_steps": "1"}


def _run(folder, **overrides):
    """(config, data, parts of the run, its result)"""
    config = override(resolve("digits_dense"), COMMON | overrides)
    dataset = registry.load(config.data)
    parts, result = train(config, dataset, folder)
    return config, dataset, parts, result


def _check(batches, config, dataset, parts, result):
    """That a run with averages after each step is that of gradient descent on these batches.

    What it rounds more: a replica's weights are rounded once, and so is their distance from the agreed
    ones, of at most u |w| each, before they are averaged; the agreed weights once more, in which the
    reference has a rounding too. A step at most doubles an error that it finds, as with this learning
    rate no update is larger than the weights are.
    """
    initial = parts.computation.program.initial_weights()
    expected = reference.reference(config, dataset, initial, batches)
    steps = len(batches)
    for place, (weight, exact) in enumerate(
        zip(result.state.weights, expected.exact.weights, strict=True)
    ):
        more = 3 * reference.UNIT_ROUNDOFF * np.abs(exact).mean() * (2**steps - 1)
        distance = np.abs(weight - exact).mean()
        assert distance <= expected.weight_tolerances[place] + more, place
        moved = np.abs(exact - initial[place]).mean()
        assert distance < moved / 1000  # So the bound is not too wide.


def _batches(order, steps=STEPS):
    rows = order.steps_batches(0, steps)
    return [row[row != PADDING] for row in rows]


def test_to_average_after_each_step_of_sgd_is_gradient_descent(tmp_path):
    """The third and the last batch have 10 examples, so that three of the replicas have none."""
    run = _run(tmp_path, **AVERAGING)
    _check(_batches(SampleOrder(EXAMPLES, BATCH, seed=0)), *run)


def test_so_it_is_where_each_replica_has_a_share_of_the_data(tmp_path):
    """And the shares differ in size, so a step has unequal parts of them."""
    shares = {"data.partition": "random", "data.partitions": "10", "sync.replicas": "10"}
    run = _run(tmp_path, **AVERAGING | shares | {"data.global_batch_size": "60"})
    order = run[2].computation.order
    assert len({len(batch) for batch in _batches(order)}) > 1
    _check(_batches(order), *run)


def test_a_round_of_all_clients_with_one_step_each_is_gradient_descent_on_all_the_data(tmp_path):
    clients = {
        "sync.mode": "federated",
        "data.partition": "random",
        "data.partitions": "10",
        "federated.clients_per_round": "10",
        "data.global_batch_size": "40",  # More than any client has.
        "train.steps": "3",
    }
    _check([np.arange(EXAMPLES)] * 3, *_run(tmp_path, **clients))


def _weights(folder, **overrides):
    return _run(folder, **AVERAGING | {"sync.every_steps": "3"} | overrides)[-1].state.weights


def test_an_outer_optimizer_that_takes_the_whole_step_is_the_average(tmp_path):
    average = _weights(tmp_path / "0")
    whole = _weights(tmp_path / "1", **{"sync.outer": "sgd"})
    for one, other in zip(average, whole, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("slots", ["keep", "reset"])
def test_momentum_is_kept_or_reset(slots, tmp_path):
    """A replica's first step after an agreement tells: it has that momentum or not."""
    with_momentum = {"optimizer.momentum": "0.9", "sync.slots": slots, "train.steps": "2"}
    found = _run(tmp_path / "found", **AVERAGING | {"sync.replicas": "1"} | with_momentum)
    alone = _run(tmp_path / "alone", **{"optimizer.momentum": "0.9", "train.steps": "2"})
    # With a single replica there is nobody to average with, so only a reset changes something.
    distances = [
        np.abs(a - b).max()
        for a, b in zip(found[-1].state.weights, alone[-1].state.weights, strict=True)
    ]
    if slots == "reset":
        assert min(distances) > 1e-4
        assert found[-1].state.slots == [[]] * 4
    else:
        # The roundings of `_check`, and no more.
        assert max(distances) < 10 * reference.UNIT_ROUNDOFF
        assert found[-1].state.slots[0][0].shape == (1,)


def test_averaged_slots_are_the_examples_mean_of_what_replicas_keep(tmp_path):
    """Of one round from zeros, whose third step has examples for the first replica only."""
    settings = {"optimizer.name": "adam", "train.steps": "3"}
    kept = _run(tmp_path / "keep", **AVERAGING | {"sync.every_steps": "3"} | settings)
    averaged = _run(
        tmp_path / "average",
        **AVERAGING | {"sync.every_steps": "3", "sync.slots": "average"} | settings,
    )
    counts = np.array([34, 24, 24, 24]) / EXAMPLES
    for own, mean in zip(kept[-1].state.slots, averaged[-1].state.slots, strict=True):
        assert own[0].tolist() == [3, 2, 2, 2] and mean[0] == 3  # Steps, as replica 0 counts them.
        for theirs, one in zip(own[2:], mean[2:], strict=True):
            exact = np.tensordot(counts, theirs.astype(np.float64), 1)
            # Products, a tree of 4 and a scale: at most 8 roundings of the terms.
            bound = 8 * reference.UNIT_ROUNDOFF * np.tensordot(counts, np.abs(theirs), 1)
            assert (np.abs(one - exact) <= bound).all()


def test_a_proximal_term_pulls_clients_to_the_agreed_weights(tmp_path):
    clients = {
        "sync.mode": "federated",
        "data.partition": "random",
        "data.partitions": "4",
        "federated.clients_per_round": "2",
        "federated.local_epochs": "3",
        "data.global_batch_size": "10",
        "train.steps": "1",
    }
    moved = {}
    for mu in ("0.0", "1.0", "10.0"):
        _, _, parts, result = _run(tmp_path / mu, **clients | {"federated.proximal": mu})
        initial = parts.computation.program.initial_weights()
        pairs = zip(initial, result.state.weights, strict=True)
        moved[mu] = sum(float(np.square(a - b).sum()) for a, b in pairs)
    assert moved["0.0"] > 1.5 * moved["1.0"] > 3 * moved["10.0"] > 0


def test_steps_per_loop_and_the_place_of_the_data_change_no_bit(tmp_path):
    """A loop is one round or several."""
    expected = _weights(tmp_path / "0")
    settings = {"train.steps_per_loop": "1", "data.placement": "stream"}
    for one, other in zip(expected, _weights(tmp_path / "1", **settings), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_summary_has_the_agreements_and_their_bytes(tmp_path):
    _, _, parts, result = _run(tmp_path, **AVERAGING | {"sync.every_steps": "2"})
    numbers = sum(weight.size for weight in result.state.weights)
    # With 3 steps an epoch after 2, 3 and 5. A vector has 3 sums and 2 more numbers.
    sent = 3 * 4 * (numbers + 3 + 2)
    assert parts.runtime.exchanged(STEPS) == {"agreements": 3, "update_bytes": sent}


@dataclasses.dataclass(frozen=True)
class _Coarse(Channel):
    """Sends multiples of 1/64, and keeps the rest for the next time."""

    def initial(self, weights):
        return [np.zeros(np.shape(weight), np.float32) for weight in weights]

    def send(self, update, kept, step, replica):
        import tensorflow as tf

        whole = [one + rest for one, rest in zip(update, kept, strict=True)]
        sent = [tf.round(one * 64) / 64 for one in whole]
        return sent, [one - other for one, other in zip(whole, sent, strict=True)]

    def num_bytes(self, sizes):
        return sum(sizes)


def test_every_update_passes_through_the_channel_which_keeps_the_rest(tmp_path, monkeypatch):
    """So what was sent and what is left add up to what the replicas moved by."""
    plain, coarse = agreements.of, _Coarse()
    monkeypatch.setattr(
        agreements, "of", lambda *args: dataclasses.replace(plain(*args), channel=coarse)
    )
    one_replica = AVERAGING | {"sync.replicas": "1", "train.steps": "1"}
    _, _, parts, result = _run(tmp_path / "coarse", **one_replica)
    monkeypatch.undo()
    whole = _run(tmp_path / "whole", **one_replica)[-1].state.weights
    initial = parts.computation.program.initial_weights()
    residual = result.state.memory["residual"]
    for start, end, rest, exact in zip(initial, result.state.weights, residual, whole, strict=True):
        assert rest.shape == (1, *start.shape) and np.abs(rest).max() > 0
        # Roundings of weights of up to 1.
        np.testing.assert_allclose(end + rest[0], exact, atol=4 * reference.UNIT_ROUNDOFF)
        steps = (end - start) * 64
        np.testing.assert_allclose(steps, np.round(steps), atol=64 * reference.UNIT_ROUNDOFF)
    numbers = sum(weight.size for weight in result.state.weights)
    assert parts.runtime.exchanged(1)["update_bytes"] == numbers + 4 * 5


def test_a_loss_that_becomes_nan_is_found_in_its_round(tmp_path):
    rounds = AVERAGING | {"sync.every_steps": "4", "optimizer.learning_rate": "9e5"}
    config = override(resolve("linear_100"), rounds)
    with pytest.raises(
        NonFiniteError, match=r"between steps (0 and 4|4 and 8|8 and 12), on the bat"
    ):
        train(config, registry.load(config.data), tmp_path)
