"""Is a recipe's own model built as the recipe says, and refused where it cannot be trained?"""

import random
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.compiled_loop import updated
from strategies.runtime import Key
from tests.paths import ROOT
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.config.user_code import RecipeError
from trainer.data import recipe_data
from trainer.model import user_model

_HEAD = """
import keras
import numpy as np
import tensorflow as tf
from trainer.recipe import ExperimentConfig

layers = keras.layers
FEATURES = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
CLASSES = np.arange(32) % 3

def get_config():
    return ExperimentConfig()

def get_data(config):
    return {"train": (FEATURES, CLASSES), "test": (FEATURES, CLASSES)}
"""
_MODEL = """
def get_model(config, data):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3)])
"""


pytestmark = pytest.mark.usefixtures("process_settings_restored")


@pytest.fixture
def built(tmp_path):
    """Builds the model of a recipe with these lines behind its head, or of a file of tests/recipes."""

    def build(lines, head=_HEAD, **settings):
        path = tmp_path / "own.py"
        path.write_text(head + textwrap.dedent(lines))
        return _build(path, **settings)

    return build


def _build(path, **settings):
    config = config_load.resolve(str(path), {})
    return user_model.build(
        recipe_data.recipe_of(config), config, recipe_data.load(config), **settings
    )


def _message(built, lines, head=_HEAD, error=ConfigError):
    with pytest.raises(error) as caught:
        built(lines, head)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _wrapped(layer):
    """A recipe whose model has a layer with this body of `call`."""
    body = textwrap.indent(textwrap.dedent(layer), " " * 8)
    return f"""
class Own(layers.Layer):
    def call(self, x):
{body}
def get_model(config, data):
    return keras.Sequential([keras.Input((4,)), Own(), layers.Dense(3)])
"""


def test_loss_metrics_and_optimizer_follow_from_the_targets_and_the_config(built):
    program = built(_MODEL).program
    assert program.metric_names == ["loss", "accuracy"]
    assert program.slot_names(0) == [
        "iteration", "learning_rate", "kernel_momentum", "kernel_velocity"
    ]  # fmt: skip
    sums = program.sums(
        program.initial_weights(),
        (np.zeros((2, 4), np.float32), np.array([0, 1]), np.ones(2, np.float32)),
    )
    assert program.means(np.asarray(sums, np.float64)) == {
        "loss": pytest.approx(np.log(3), abs=1e-6),
        "accuracy": 0.5,
    }


def test_a_regression_has_the_mean_squared_error(built):
    head = _HEAD.replace("CLASSES = np.arange(32) % 3", "CLASSES = np.ones((32, 3))")
    program = built(_MODEL, head).program
    assert program.metric_names == ["loss", "mean_absolute_error"]


def test_probabilities_are_told_from_logits_by_the_last_activation(built):
    softmax = _MODEL.replace("Dense(3)", "Dense(3, activation='softmax')")
    zeros = (np.zeros((2, 4), np.float32), np.array([0, 1]), np.ones(2, np.float32))
    program = built(softmax).program
    assert float(program.sums(program.initial_weights(), zeros)[0]) == pytest.approx(
        2 * np.log(3), abs=1e-5
    )


def test_the_same_recipe_makes_the_same_weights_names_and_architecture_again(built):
    lines = """
    def get_model(config, data):
        return keras.Sequential([
            keras.Input((4,)), layers.Dense(5), layers.Dropout(0.5), layers.BatchNormalization(),
            layers.Dense(3),
        ])
    """
    one, other = built(lines), built(lines)
    assert one.architecture == other.architecture and one.fingerprint == other.fingerprint
    assert one.program.forward.state_names == other.program.forward.state_names
    first, second = one.program.initial_state(), other.program.initial_state()
    for mine, theirs in zip(
        tf.nest.flatten(first.parts), tf.nest.flatten(second.parts), strict=True
    ):
        assert np.array_equal(mine, theirs)
    wider = built(lines.replace("Dense(5)", "Dense(6)"))
    assert wider.fingerprint != one.fingerprint


def test_several_outputs_have_losses_of_their_own_and_their_weighted_sum():
    program = _build(ROOT / "tests/recipes/two_inputs.py").program
    names = "loss kind_loss value_loss kind_accuracy value_root_mean_squared_error"
    assert program.metric_names == names.split()
    numbers, words = np.zeros((2, 5), np.float32), np.zeros((2, 6), np.int64)
    batch = numbers, words, np.array([0, 1]), np.ones((2, 1), np.float32), np.ones(2, np.float32)
    weights, _, state = program.initial_state().parts
    means = program.means(np.asarray(program.sums(weights, batch, state), np.float64))
    model = program.model
    outputs = model({"numbers": numbers, "words": words}, training=False)
    logits = outputs["kind"].numpy()
    kind = np.mean(np.log(np.exp(logits).sum(1)) - logits[[0, 1], [0, 1]])
    value = np.mean(np.square(outputs["value"].numpy() - 1))
    penalty = float(sum(model.losses))
    assert penalty > 0.001
    assert means["kind_loss"] == pytest.approx(kind, abs=1e-6)
    assert means["value_loss"] == pytest.approx(value, abs=1e-6)
    assert means["value_root_mean_squared_error"] == pytest.approx(np.sqrt(value), abs=1e-6)
    assert means["loss"] == pytest.approx(kind + 0.5 * value + penalty, abs=1e-6)


@pytest.mark.parametrize("block_size", [0, 4, 8])
def test_penalties_count_once_however_many_blocks_there_are(built, block_size):
    lines = """
    def get_model(config, data):
        return keras.Sequential([
            keras.Input((4,)), layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5)),
        ])
    """
    program = built(lines, block_size=block_size).program
    weights, _, state = program.initial_state().parts
    batch = np.zeros((16, 4), np.float32), np.arange(16) % 3, np.ones(16, np.float32)
    terms, sums = program.gradients([tf.constant(weight) for weight in weights], batch, state)
    # On zeros the kernel has no other gradient: the mean of the penalty's is 2 * 0.5 * kernel.
    assert program.mean(terms, sums[-1])[0].numpy() == pytest.approx(weights[0], rel=1e-6)


def test_sequential_blocks_wait_for_one_another_and_give_the_same_bits(built):
    lines = """
    def get_model(config, data):
        return keras.Sequential([
            keras.Input((4,)), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5),
            layers.Dense(3),
        ])
    """
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, 4)).astype(np.float32), random.integers(0, 3, 16)
    found, waiting = [], []
    for value in ("False", "True"):
        wanted = f"ExperimentConfig(train=TrainConfig(sequential_blocks={value}))"
        head = _HEAD.replace("ExperimentConfig()", wanted)
        head = head.replace("import ExperimentConfig", "import ExperimentConfig, TrainConfig")
        program = built(lines, head, block_size=4).program
        weights, _, state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
        args = weights, (x, y, np.ones(16, np.float32)), state, Key(0, 0)
        step = tf.function(program.gradients, autograph=False)
        found.append(tf.nest.map_structure(lambda one: one.numpy().tobytes(), step(*args)))
        graph = step.get_concrete_function(*args).graph
        waiting.append(sum(bool(one.control_inputs) for one in graph.get_operations()))
    assert found[0] == found[1]
    assert waiting[1] > waiting[0] + 3  # Each block but the first waits for the one before it.


def _keras_and_ours(built, lines, steps, batch_size):
    """The first kernel, then all weights and state after some steps, by Keras and by the program."""
    own = built(lines)
    program, model = own.program, own.program.model
    state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    first = state[0][0].numpy()
    random = np.random.default_rng(4)
    step = tf.function(program.gradients, autograph=False)
    for index in range(steps):
        x = random.normal(size=(batch_size, 4)).astype(np.float32)
        y = random.integers(0, 3, batch_size)
        terms, sums = step(
            state[0], (x, y, np.ones(batch_size, np.float32)), state[2], Key(tf.constant(index), 0)
        )
        state = updated(program, state, terms, sums[-1])
        model.train_on_batch(x, y)
    theirs = [v.numpy() for v in (*model.trainable_variables, *model.non_trainable_variables)]
    return first, theirs, [value.numpy() for value in (*state[0], *state[2])]


@pytest.mark.parametrize(
    "optimizer",
    [
        "keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 20), momentum=0.9)",
        "keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=0.1)",
        "keras.optimizers.Adamax(0.01, clipvalue=0.1)",
        "keras.optimizers.Adafactor(0.01)",
        "keras.optimizers.Lion(0.001, clipnorm=0.5)",
        "keras.optimizers.Ftrl(0.01)",
    ],
)
def test_twenty_steps_of_one_block_end_where_keras_ends(built, optimizer):
    lines = f"""
    def get_model(config, data):
        model = keras.Sequential([
            keras.Input((4,)),
            layers.Dense(8, activation="tanh", kernel_regularizer="l2", kernel_constraint="max_norm"),
            layers.BatchNormalization(),
            layers.Dense(3),
        ])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile({optimizer}, loss)
        return model
    """
    first, theirs, ours = _keras_and_ours(built, lines, steps=20, batch_size=16)
    # Both take the same operations in another order: sums of up to 16 terms, and updates of fewer than
    # 50 operations, so 20 steps differ by at most 20 * 66 roundings of the largest number.
    for one, other in zip(theirs, ours, strict=True):
        assert np.abs(one - other).max() <= 20 * 66 * 2.0**-24 * max(1, np.abs(one).max())
    assert np.abs(ours[0] - first).max() > 0.01


def test_a_metric_of_any_kind_is_that_of_keras_on_the_whole(built):
    lines = """
    def get_metrics(config):
        return [
            keras.metrics.SparseTopKCategoricalAccuracy(2),
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        ]
    """
    program = built(_MODEL + textwrap.dedent(lines)).program
    random = np.random.default_rng(3)
    x, y = random.normal(size=(64, 4)).astype(np.float32), random.integers(0, 3, 64)
    weights = program.initial_weights()
    total = sum(
        np.asarray(program.sums(weights, (x[part], y[part], np.ones(16, np.float32))), np.float64)
        for part in np.split(np.arange(64), 4)
    )
    outputs = program.model(x)
    for metric in (
        keras.metrics.SparseTopKCategoricalAccuracy(2),
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
    ):
        metric.update_state(y, outputs)
        found = program.means(total)[metric.name]
        assert found == pytest.approx(float(metric.result()), rel=1e-5)


def test_modules_beside_the_recipe_are_imported_and_fingerprinted(tmp_path):
    (tmp_path / "beside_it.py").write_text("UNITS = 3\n")
    lines = _MODEL.replace("Dense(3)", "Dense(beside_it.UNITS)")
    (tmp_path / "own.py").write_text(_HEAD + "import beside_it\n" + lines)
    config = config_load.resolve(str(tmp_path / "own.py"), {})
    assert config.recipe == str(tmp_path / "own.py")
    recipe = recipe_data.recipe_of(config)
    assert {*recipe.sources()} == {"recipe", "beside_it.py"}


@pytest.mark.parametrize(
    "lines, message",
    [
        (
            "def get_model(config, data): return 3",
            "`get_model` of {path} must return a keras.Model. Received: a int; return the model.",
        ),
        (
            "def get_model(config, data):\n"
            "    return keras.Sequential([keras.Input((4,)), layers.Flatten()])",
            "`get_model` must return a model with weights to train. Received: 'sequential' without any; ",
        ),
        (
            "class Own(keras.Model):\n    def train_step(self, data): pass\n"
            "def get_model(config, data): return Own()",
            "that Keras's own step trains. Received: Own, which has its own `train_step`; ",
        ),
        (
            _wrapped("return x + tf.random.normal(tf.shape(x))"),
            "draws random numbers from seeds of its own. Received: one with RandomStandardNormal; ",
        ),
        (
            _wrapped("return x + keras.random.normal((4,))"),
            "seed_generator_state:0; make them attributes of a layer, and give random operations a ",
        ),
        (
            _MODEL + "def get_optimizer(config): return 'adam'",
            "`get_optimizer` must return a Keras optimizer. Received: a str; ",
        ),
        (
            _MODEL
            + "def get_optimizer(config): return keras.optimizers.Adam(gradient_accumulation_steps=2)",
            "without `gradient_accumulation_steps`. Received: 2 for adam; raise `data.global_batch_size`",
        ),
        (
            _MODEL + "class Own(keras.optimizers.SGD):\n    def apply(self, *args): pass\n"
            "def get_optimizer(config): return Own()",
            "Received: own, which has its own `apply`; use another, ",
        ),
        (
            _MODEL + "def get_loss(config):\n"
            "    return keras.losses.MeanSquaredError(reduction='sum')",
            "losses that are means over examples. Received: mean_squared_error with reduction 'sum'; ",
        ),
        (
            _MODEL + "def get_loss(config):\n"
            "    return lambda y, p: tf.reduce_mean(tf.square(p - y[:, None]))",
            "with one value per example. Received: lambda with values [] for 4 examples; ",
        ),
        (
            _MODEL + "class Largest(keras.metrics.Metric):\n"
            "    def __init__(self, name='largest'):\n"
            "        super().__init__(name=name)\n"
            "        self.value = self.add_variable((), 'zeros', name='value')\n"
            "    def update_state(self, y_true, y_pred, sample_weight=None):\n"
            "        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))\n"
            "    def result(self): return self.value\n"
            "def get_metrics(config): return [Largest()]",
            "metrics whose variables are sums over examples. Received: largest, whose update is none; ",
        ),
        (
            _MODEL + "CLASSES = CLASSES + 1",
            "must return classes from 0 to 2, as the loss is sparse_categorical_crossentropy and the "
            "model has 3 outputs. Received: 1 to 3 for 'train'; ",
        ),
        (
            "def get_model(config, data):\n    x = keras.Input((4,))\n"
            "    return keras.Model(x, {'a': layers.Dense(3)(x), 'b': layers.Dense(1)(x)})",
            "targets by name for a model with outputs 'a', 'b'. Received: one array; ",
        ),
        (
            "def get_model(config, data):\n    x = keras.Input(batch_shape=(4, 4, 4))\n"
            "    return keras.Model(x, layers.GRU(3, stateful=True)(x))\n"
            "FEATURES = np.zeros((4, 4, 4))\nCLASSES = CLASSES[:4]",
            "whose examples do not depend on each other. Received: 'gru' with stateful=True; ",
        ),
        (
            _MODEL.replace("Dense(3)", "Dense(3, dtype='float64')"),
            "a model whose weights are float32. Received: float64 for 'sequential/dense/kernel'; ",
        ),
        (
            _MODEL.replace("Dense(3)", "Dense(1)"),
            "classes from 0 to 1, as the loss is binary_crossentropy and the model has 1 outputs. "
            "Received: 0 to 2 for 'train'; ",
        ),
        (
            _MODEL + "CLASSES = np.array(['a', 'b'] * 16)",
            "`get_data` must return numbers as targets. Received: text; return classes, ",
        ),
        (
            _MODEL + "CLASSES = np.eye(3, dtype=int)[CLASSES]",
            "Received: none for targets int64 [n, 3] and outputs float32 [n, 3]; return a loss, ",
        ),
        (
            _MODEL + "CLASSES = {'a': CLASSES, 'b': CLASSES}",
            "one array of targets for a model with one output. Received: 'a', 'b'; ",
        ),
        (
            _MODEL + "CLASSES = CLASSES + 0.5\ndef get_loss(config): return 'mse'",
            "loss mse of targets float32 [n] and outputs float32 [n, 3]: InvalidArgumentError: "
            "Incompatible shapes: [4] vs. [4,3]; correct the recipe.",
        ),
        (  # Of the four examples that it is tried on, the shapes would fit.
            _MODEL.replace("Dense(3)", "Dense(4)") + "CLASSES = CLASSES + 0.5",
            "loss mean_squared_error of targets float32 [n] and outputs float32 [n, 4]: ",
        ),
        (
            _MODEL + "CLASSES = np.where(CLASSES > 1, np.nan, CLASSES)\n"
            "def get_loss(config): return 'sparse_categorical_crossentropy'",
            "Received: nan to nan for 'train'; ",
        ),
        (
            _MODEL + "FEATURES = FEATURES[:, :3]",
            "own.py: ValueError: Input 0 with name 'None' of layer 'dense' is incompatible with the "
            "layer: expected axis -1 of input shape to have value 4, but received input with shape "
            "(4, 3); correct the recipe.",
        ),
        (
            _wrapped("return keras.ops.mean(x, 0, keepdims=True)"),
            "a model with an output for each example. Received: 1 outputs for 4 examples; ",
        ),
        (
            "class Own(layers.Layer):\n    def call(self, x): return keras.ops.argmax(x, -1)\n"
            "def get_model(config, data):\n"
            "    return keras.Sequential([keras.Input((4,)), layers.Dense(3), Own()])",
            "outputs are floating-point numbers for each example. Received: int32 [n]; ",
        ),
        (
            _MODEL
            + "def get_metrics(config): return [keras.metrics.MeanSquaredError(name='loss')]\n"
            "CLASSES = np.eye(3)[CLASSES]",
            "metrics with names of their own, none of which is loss. Received: loss; ",
        ),
        (
            _MODEL + "class Text(keras.metrics.Mean):\n    def result(self): return 'text'\n"
            "    def update_state(self, y_true, y_pred, sample_weight=None): pass\n"
            "def get_metrics(config): return [Text('text')]",
            "metrics whose results are numbers. Received: a str from text; ",
        ),
        (
            "def get_model(config, data):\n    x = keras.Input((4,))\n"
            "    pictures = layers.Reshape((2, 2, 1, 1))(x)\n"
            "    conv = layers.TimeDistributed(layers.Conv2D(2, 1))(pictures)\n"
            "    return keras.Model(x, layers.Dense(3)(layers.Flatten()(conv)))",
            "outputs are not stacked, as by TimeDistributed: TensorFlow's oneDNN would mix up the ",
        ),
        (
            _MODEL + "def get_loss(config): return ['mse', 'mse']",
            "`get_loss` must have one entry for each output of the model, 'the only one'. Received: 2; ",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(built, tmp_path, lines, message):
    assert message.format(path=tmp_path / "own.py") in _message(built, lines)


def test_an_error_in_the_recipes_own_function_names_its_line(built, tmp_path):
    lines = (
        "def helper():\n    return {}['width']\ndef get_model(config, data):\n    return helper()\n"
    )
    with pytest.raises(RecipeError) as caught:
        built(lines)
    path, line = (
        tmp_path / "own.py",
        (_HEAD + lines).splitlines().index("    return {}['width']") + 1,
    )
    assert str(caught.value) == (
        f"recipe {path}, line {line}: KeyError: 'width'; correct the recipe."
    )
    assert caught.value.__notes__ == [
        f"  {path}, line {line + 2}, in get_model: return helper()",
        f"  {path}, line {line}, in helper: return {{}}['width']",
    ]


def test_an_error_in_a_layer_of_the_recipe_names_its_line_too(built):
    message = _message(built, _wrapped("return x @ tf.ones([9, 9])"), error=RecipeError)
    assert "own.py, line " in message


def test_outputs_in_a_list_have_losses_and_metrics_in_their_order(built):
    lines = """
    TARGETS = {"one": CLASSES, "two": np.ones((32, 1))}
    def get_data(config):
        return {"train": (FEATURES, TARGETS), "test": (FEATURES, TARGETS)}
    def get_model(config, data):
        x = keras.Input((4,))
        return keras.Model(x, [layers.Dense(3, name="one")(x), layers.Dense(1, name="two")(x)])
    def get_loss(config):
        return [keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"]
    def get_metrics(config):
        return [["accuracy"], None]
    """
    program = built(lines).program
    assert program.metric_names == ["loss", "one_loss", "two_loss", "one_accuracy"]
    zeros = np.zeros((2, 4), np.float32)
    batch = zeros, np.array([0, 1]), np.ones((2, 1), np.float32), np.ones(2, np.float32)
    means = program.means(np.asarray(program.sums(program.initial_weights(), batch), np.float64))
    expected = {"loss": np.log(3) + 1, "one_loss": np.log(3), "two_loss": 1, "one_accuracy": 0.5}
    assert means == pytest.approx(expected, abs=1e-6)


def test_what_a_mask_hides_is_not_in_an_examples_loss(built):
    lines = """
    WORDS = np.array([[1, 2, 0, 0], [3, 1, 2, 1]] * 4)
    def get_data(config):
        return {"train": (WORDS, WORDS % 3), "test": (WORDS, WORDS % 3)}
    def get_model(config, data):
        words = keras.Input((4,), dtype="int32")
        embedded = layers.Embedding(4, 5, mask_zero=True)(words)
        return keras.Model(words, layers.Dense(3)(embedded))
    """
    program = built(lines).program
    weights, words = program.initial_weights(), np.array([[1, 2, 0, 0], [3, 1, 2, 1]])
    sums = program.sums(weights, (words, words % 3, np.ones(2, np.float32)))
    logits = program.model(words, training=False).numpy()
    losses = np.log(np.exp(logits).sum(2)) - np.take_along_axis(
        logits, (words % 3)[..., None], 2
    ).squeeze(2)
    assert float(sums[0]) == pytest.approx(losses[0, :2].mean() + losses[1].mean(), abs=1e-5)
    right = (logits.argmax(2) == words % 3)[words > 0]
    accuracy = program.means(np.asarray(sums, np.float64))["accuracy"]
    assert accuracy == pytest.approx(right.mean(), abs=1e-6)


def test_an_error_in_a_schedule_names_its_line(built):
    lines = """
    class Own(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step): return {}["rate"]
    def get_optimizer(config): return keras.optimizers.SGD(Own())
    """
    message = _message(built, _MODEL + textwrap.dedent(lines), error=RecipeError)
    assert "own.py, line " in message and "KeyError: 'rate'" in message


def test_a_schedule_that_does_not_describe_itself_is_followed(built):
    lines = """
    class Own(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step): return 0.5 / (1.0 + keras.ops.cast(step, "float32"))
    def get_optimizer(config): return keras.optimizers.SGD(Own())
    """
    program = built(_MODEL + textwrap.dedent(lines)).program
    weights, slots, _ = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    ones = [tf.ones_like(weight) for weight in weights]
    once, slots = program.update(weights, slots, ones)
    twice, _ = program.update(once, slots, ones)
    assert np.allclose(weights[0] - once[0], 0.5) and np.allclose(once[0] - twice[0], 0.25)


def test_layers_made_at_the_top_of_a_recipe_have_the_same_first_weights_in_every_process(built):
    lines = """
    TOP = layers.Dense(5)
    def get_model(config, data):
        return keras.Sequential([keras.Input((4,)), TOP, layers.Dense(3)])
    """
    one = built(lines).program.initial_weights()
    random.random()
    other = built(lines + "    # Executed again.\n").program.initial_weights()
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_targets_that_are_not_numbers_do_not_blame_the_metric(built):
    program = built(_MODEL, _HEAD.replace("np.arange(32) % 3", "np.full((32, 3), np.nan)")).program
    assert program.metric_names == ["loss", "mean_absolute_error"]


def test_truth_values_are_two_classes(built):
    model = _MODEL.replace("Dense(3)", "Dense(1)")
    program = built(model, _HEAD.replace("np.arange(32) % 3", "np.arange(32) > 5")).program
    zeros = np.zeros((2, 4), np.float32), np.array([True, False]), np.ones(2, np.float32)
    means = program.means(np.asarray(program.sums(program.initial_weights(), zeros), np.float64))
    assert means["loss"] == pytest.approx(np.log(2), abs=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        "layers.SimpleRNN(2, unroll=True)(layers.Reshape((4, 1))(x))",  # Its biases have no kernels.
        "layers.Conv1D(2, 2)(layers.Reshape((4, 1))(x))",
        "keras.ops.concatenate([layers.Conv1D(2, 2)(x[:, :, None]) for _ in range(3)], 1)",
        "layers.TimeDistributed(layers.Conv2D(2, 1, use_bias=False))(layers.Reshape((2, 2, 1, 1))(x))",
    ],
)
def test_biases_that_tensorflow_does_not_mix_up_are_accepted(built, layer):
    lines = (
        "def get_model(config, data):\n    x = keras.Input((4,))\n"
        f"    return keras.Model(x, layers.Dense(3)(layers.Flatten()({layer})))"
    )
    assert built(lines).program.metric_names == ["loss", "accuracy"]
