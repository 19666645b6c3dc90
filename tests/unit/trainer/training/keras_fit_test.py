"""Does a recipe's model of one block, or with the whole batch's statistics, end where Keras's `fit` ends?

Both start from the same weights and take the same 50 batches. Neither is exact, so both are compared with
`fit` in float64, and the tolerance is the distance that float32's rounding may cause. As in
`tests/cluster/reference.py` it is computed: the 50 steps are repeated in float64 with random errors of
that size in every gradient, weight and average of every step, and MARGIN times the largest mean distance
of DRAWS such runs is allowed.

The size of an error: a sum of n terms has errors of about sqrt(n) u S, with u = 2**-24 and S the sum of
the terms' magnitudes. Terms of random signs have a sum of about S / sqrt(n), so the error is about n u of
the array's largest numbers. Where terms cancel to nothing, as in a bias before batch normalization, they
are as large as those of other arrays. n is the sum of the lengths of all sums that a gradient comes
through: of every layer's products, forward and backward, and over the batch and its positions.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cluster.reference import MARGIN, UNIT_ROUNDOFF
from tests.paths import ROOT
from tests.unit.trainer.training import in_process
from trainer.config import load as config_load
from trainer.data import recipe_data

RECIPE = ROOT / "tests" / "recipes" / "against_keras.py"
DRAWS = 5
SHORT = ("dense", "batch_norm")
NETS = "dense conv batch_norm gru attention multi_output regularizers schedule".split()


pytestmark = pytest.mark.usefixtures("process_settings_restored")


def _ours(config, folder):
    """The first weights, the last weights and averages, and each epoch's loss, by this trainer."""
    parts, result = in_process.train(config, recipe_data.load(config), folder)
    first, state = parts.computation.program.initial_state(), result.state
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    losses = [record["loss"] for record in records if record["event"] == "train"]
    return [first.weights, first.layer_state], [*state.weights, *state.layer_state], losses


class _Fit:
    """Keras's `fit`, which may start and be disturbed again and again."""

    def __init__(self, config, first, floatx):
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(floatx)
        recipe, self._batch = recipe_data.recipe_of(config), config.data.global_batch_size
        self._epochs = config.train.epochs
        data = recipe.call("get_data", config)
        (self._x, self._y) = data["train"]
        keras.utils.set_random_seed(config.train.seed)
        self._model = model = recipe.call("get_model", config, data)
        model.jit_compile = False
        self._held = [*model.trainable_variables, *model.non_trainable_variables]
        assert {variable.dtype for variable in model.trainable_variables} == {floatx}
        self._first = [array for part in first for array in part]
        model.optimizer.build(model.trainable_variables)
        self._slots = [(slot, slot.numpy()) for slot in model.optimizer.variables]
        self._size, self._seed = tf.Variable(0.0, dtype=floatx), tf.Variable(0)
        self._apply, model.optimizer.apply = model.optimizer.apply, self._disturbed

    def run(self, seed=None, factor=1.0):
        """The last weights and averages, and each epoch's loss; with a seed, after random errors.

        `factor`: of the features, 1 where they are right.
        """
        for variable, value in [*zip(self._held, self._first, strict=True), *self._slots]:
            variable.assign(value)
        self._size.assign(0.0 if seed is None else UNIT_ROUNDOFF * self._num_terms())
        self._seed.assign(seed or 0)
        history = self._model.fit(
            self._x * np.float32(factor),
            self._y,
            self._batch,
            self._epochs,
            verbose=0,
            shuffle=False,
        )
        return [variable.numpy() for variable in self._held], history.history["loss"]

    def _num_terms(self):
        shapes = [tuple(variable.shape) for variable in self._model.trainable_variables]
        products = sum(int(np.prod(shape[:-1])) for shape in shapes)
        positions = int(np.prod(self._x.shape[1:-1]))
        return 2 * products + self._batch * positions

    def _disturbed(self, gradients, trainable_variables=None):
        count = tf.cast(self._model.optimizer.iterations.value, tf.int32)

        def error(index, value, largest):
            seed = [self._seed.value(), count * 1000 + index]
            drawn = tf.random.stateless_uniform(value.shape, seed, -1, 1, value.dtype)
            return drawn * tf.cast(self._size, value.dtype) * largest

        gradients = list(map(tf.convert_to_tensor, gradients))
        sizes = [tf.reduce_max(tf.abs(gradient)) for gradient in gradients]
        of_all = tf.reduce_max(sizes)
        is_nothing = [size <= tf.cast(self._size, size.dtype) * of_all for size in sizes]
        sizes = [tf.where(no, of_all, size) for no, size in zip(is_nothing, sizes, strict=True)]
        disturbed = [
            gradient + error(index, gradient, size)
            for index, (gradient, size) in enumerate(zip(gradients, sizes, strict=True))
        ]
        self._apply(disturbed, trainable_variables)
        for index, variable in enumerate(self._held, start=len(gradients)):
            value = tf.convert_to_tensor(variable.value)
            if variable.path.endswith(("moving_mean", "moving_variance")):
                variable.assign_add(error(index, value, tf.reduce_max(tf.abs(value))))
            elif value.dtype.is_floating:  # The update's own roundings: of a few operations.
                variable.assign_add(5 * error(index, value, tf.abs(value)) / self._num_terms())


def _distances(one, other):
    pairs = [(a, b) for a, b in zip(one[0], other[0], strict=True) if a.dtype.kind == "f"]
    arrays = [float(np.abs(a - b).mean()) for a, b in pairs]
    return np.array([*arrays, *np.abs(np.subtract(one[1], other[1]))])


SHARED = {"name": "batch_norm", "model.batch_norm": "global", "train.reduction_blocks": "4"}
CASES = [{"name": net} for net in NETS] + [SHARED]


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(
            flags,
            id=" ".join(flags.values()),
            marks=[] if flags["name"] in SHORT else pytest.mark.long,
        )
        for flags in CASES
    ],
)
def test_fifty_steps_end_where_fit_ends(flags, tmp_path):
    config = config_load.resolve(str(RECIPE), flags)
    first, *ours = _ours(config, tmp_path / "workdir")
    theirs = _Fit(config, first, "float32").run()
    double = _Fit(config, first, "float64")
    exact = double.run()
    allowed = MARGIN * np.max(
        [_distances(exact, double.run(seed)) for seed in range(DRAWS)], axis=0
    )
    # A loss that is reported is itself a float32 sum: of the losses of 16 examples, in each of 10 steps.
    steps = len(double._x) / config.data.global_batch_size
    roundings = np.sqrt(steps + config.data.global_batch_size) * UNIT_ROUNDOFF
    allowed[-config.train.epochs :] += MARGIN * roundings * np.array(exact[1])
    assert len(ours[1]) == config.train.epochs and np.all(allowed > 0)
    assert np.all(_distances(exact, theirs) <= allowed), (
        "the tolerance does not hold for Keras itself"
    )
    excess = _distances(exact, ours) / allowed
    assert np.all(excess <= 1), excess
    # Another computation is found: features that are 0.1 % larger.
    assert np.max(_distances(exact, double.run(factor=1.001)) / allowed) > 5
