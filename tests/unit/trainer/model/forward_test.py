"""Does layer state belong to the blocks of a batch, and not to who computes them?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.compiled_loop import updated
from strategies.runtime import Key
from trainer.config.schema import OptimizerConfig
from trainer.model.forward import Forward
from trainer.model.losses import REGRESSION
from trainer.model.optimizers import Optimizers, make_optimizer
from trainer.model.step import TrainingProgram

_FEATURES = 6


class _Counting(keras.layers.Layer):
    """Counts its calls in training, beside what it passes on."""

    def build(self, shape):
        self.calls = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="calls"
        )

    def call(self, inputs, training=False):
        if training:
            self.calls.assign(self.calls + 3)
        return inputs


def _model(*layers):
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((_FEATURES,)), *layers, keras.layers.Dense(2)])


def _program(model, block_size=4, uses_xla=False, trims_padding=True):
    names = [variable.path for variable in model.trainable_variables]
    optimizers = Optimizers(
        model.trainable_variables, names, lambda: make_optimizer(OptimizerConfig("sgd"))
    )
    return TrainingProgram(
        model,
        REGRESSION,
        optimizers,
        block_size=block_size,
        uses_xla=uses_xla,
        trims_padding=trims_padding,
    )


def _batch(examples=16, padding=0):
    random = np.random.default_rng(5)
    features = random.normal(size=(examples, _FEATURES)).astype(np.float32)
    weights = np.ones(examples, np.float32)
    if padding:
        features[-padding:], weights[-padding:] = features[0], 0
    return features, random.normal(size=(examples, 2)).astype(np.float32), weights


def _share(batch, index, of):
    return tuple(np.split(array, of)[index] for array in batch)


def _state(program):
    return tf.nest.map_structure(tf.constant, program.initial_state().parts)


def _terms(program, state, batch, key):
    weights, _, layer_state = state
    function = tf.function(program.gradients, jit_compile=program.uses_xla, autograph=False)
    return function(weights, batch, layer_state, key)


def _stepped(program, batch, step=0, shares=1):
    """Layer state after one step, by name, of which `shares` replicas compute a part each."""
    state = _state(program)
    parts = [
        _terms(program, state, _share(batch, share, shares), Key(tf.constant(step), share))
        for share in range(shares)
    ]
    terms, sums = [sum(one) for one in zip(*(t for t, _ in parts), strict=True)], 0
    sums = sum(sums for _, sums in parts)
    _, _, layer_state = updated(program, state, terms, sums[-1])
    found = [value.numpy() for value in layer_state]
    return dict(zip(program.forward.state_names, found, strict=True))


def _normalized():
    return _program(_model(keras.layers.BatchNormalization(momentum=0.75, name="norm")))


@pytest.fixture
def as_written():
    """Graphs are run as they were traced, as in a run."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.mark.parametrize("shares", [2, 4])
def test_any_number_of_replicas_ends_with_the_bits_of_one(shares, as_written):
    model = _model(
        keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), _Counting(name="counting")
    )
    program, batch = _program(model), _batch()
    state = _state(program)
    whole, sums = _terms(program, state, batch, Key(tf.constant(7), 0))
    parts = [
        _terms(program, state, _share(batch, share, shares), Key(tf.constant(7), share))
        for share in range(shares)
    ]
    while len(parts) > 1:  # Pairwise, as replicas add them.
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [([x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]) for a, b in pairs]
    ((terms, added),) = parts
    assert np.array_equal(sums, added)
    assert len(terms) == len(program.term_shapes) == len(state[0]) + 3
    for mine, theirs, shape in zip(whole, terms, program.term_shapes, strict=True):
        assert np.array_equal(mine, theirs) and tuple(mine.shape) == shape


def test_averages_move_by_the_mean_of_the_blocks():
    batch = _batch()
    after = _stepped(_normalized(), batch)
    blocks = batch[0].reshape(4, 4, _FEATURES)
    assert after["norm/moving_mean"] == pytest.approx(0.25 * blocks.mean(1).mean(0), abs=1e-6)
    variance = 0.75 + 0.25 * blocks.var(1).mean(0)
    assert after["norm/moving_variance"] == pytest.approx(variance, abs=1e-6)


def test_padding_is_not_in_the_averages():
    features, targets, weights = batch = _batch(padding=10)
    after = _stepped(_normalized(), batch)
    blocks = [features[:4], features[4:6]]  # Six examples; the other two blocks are all padding.
    mean = (4 * blocks[0].mean(0) + 2 * blocks[1].mean(0)) / 6
    assert after["norm/moving_mean"] == pytest.approx(0.25 * mean, abs=1e-6)
    variance = (4 * blocks[0].var(0) + 2 * blocks[1].var(0)) / 6
    assert after["norm/moving_variance"] == pytest.approx(0.75 + 0.25 * variance, abs=1e-6)
    other = features.copy()
    other[-10:] = 100
    found = _stepped(_normalized(), (other, targets, weights), shares=2)
    assert all(np.array_equal(found[name], after[name]) for name in after)


def test_a_block_with_padding_changes_no_averages_where_shapes_are_fixed():
    model = _model(keras.layers.BatchNormalization(momentum=0.75, name="norm"))
    program = _program(model, uses_xla=True, trims_padding=False)
    features, _, _ = batch = _batch(padding=10)
    after = _stepped(program, batch)
    # Of the block with four examples, weighted by its share of the six.
    expected = 0.25 * features[:4].mean(0) * 4 / 6
    assert after["norm/moving_mean"] == pytest.approx(expected, abs=1e-6)


def test_a_counter_moves_once_a_batch():
    program = _program(_model(_Counting(name="counting")))
    assert _stepped(program, _batch())["counting/calls"] == 3
    assert _stepped(program, _batch(), shares=4)["counting/calls"] == 3


def test_a_frozen_weight_keeps_its_bits_and_is_not_sent():
    frozen = keras.layers.Dense(5, name="frozen", trainable=False)
    program = _program(_model(frozen))
    before = program.forward.initial_state()
    _terms(program, _state(program), _batch(), Key(0, 0))
    assert program.forward.moving == []
    after = _stepped(program, _batch(12))  # Blocks of 3: the mean divides by 12.
    assert list(after) == ["frozen/kernel", "frozen/bias"]
    assert all(np.array_equal(*pair) for pair in zip(after.values(), before, strict=True))


def _dropped(program, step, share, batch):
    """Which of a batch's cells the model's dropout keeps, in the block of this number."""
    state = program.forward.initial_state()
    outputs, after, _ = program.forward.train(
        program.initial_weights(), list(map(tf.constant, state)), batch, Key(step, share)
    )
    del after
    return (outputs.numpy() != 0).tolist()


def _dropout_alone():
    keras.utils.set_random_seed(3)
    return _program(keras.Sequential([keras.Input((_FEATURES,)), keras.layers.Dropout(0.5)]))


def test_every_block_of_every_step_drops_cells_of_its_own_again_and_again_the_same():
    program, ones = _dropout_alone(), np.ones((8, _FEATURES), np.float32)
    masks = [_dropped(program, step, share, ones) for step in (0, 1) for share in (0, 1)]
    assert len({str(mask) for mask in masks}) == 4
    assert masks == [_dropped(program, step, share, ones) for step in (0, 1) for share in (0, 1)]


def test_seeds_never_move():
    program = _program(_model(keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)))
    before = program.forward.initial_state()
    after = _stepped(program, _batch())
    assert list(after) == ["seed_0", "seed_1"]
    assert all(np.array_equal(*pair) for pair in zip(after.values(), before, strict=True))
    assert not np.array_equal(*before)


def test_an_evaluation_drops_nothing_and_normalizes_by_the_averages():
    model = _model(keras.layers.Dropout(0.5), keras.layers.BatchNormalization())
    program, (features, targets, weights) = _program(model), _batch()
    state = _state(program)
    sums = program.sums(state[0], (features, targets, weights), state[2])
    expected = np.square(model(features, training=False) - targets).mean(1).sum()
    assert float(sums[0]) == pytest.approx(expected, rel=1e-6) and sums[-1] == 16


class _Plain(keras.Model):
    """Its own call does not ask whether it trains; the layer inside does."""

    def __init__(self):
        super().__init__()
        self.drop = keras.layers.Dropout(0.5)

    def call(self, inputs):
        return self.drop(inputs)


def test_a_layer_inside_is_told_that_it_trains_where_the_model_does_not_ask():
    model = _Plain()
    model(np.ones((1, _FEATURES), np.float32))
    forward, ones = Forward(model), np.ones((8, _FEATURES), np.float32)
    state = [tf.constant(value) for value in forward.initial_state()]
    outputs, _, _ = forward.train([], state, ones, Key(0, 0))
    assert 0 < np.count_nonzero(outputs) < ones.size
    assert np.array_equal(forward.evaluate([], state, ones)[0], ones)
