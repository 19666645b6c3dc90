"""Does a recipe that is wrong in any way end in one line, and never in a traceback of the program?

Recipes are put together at random from parts, of which most are wrong. Each either trains, or is refused
by an error of one line. A person's own exception shows the lines of the recipe that it came from.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategies.errors import InputError
from tests.unit.trainer.training import in_process
from trainer import __main__ as program
from trainer.config import load as config_load
from trainer.config.user_code import RecipeError
from trainer.data import recipe_data

_HEAD = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig

random = np.random.default_rng(0)
COUNT = 20

class Examples:
    def __init__(self, get, length=COUNT): self.get, self.length = get, length
    def __len__(self): return self.length
    def __getitem__(self, index): return self.get(index)

class Calls(layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function
    def call(self, x): return self.function(x)

class Whole(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.dense, self.function = layers.Dense(3), function
    def call(self, x): return self.function(self, x)

class Metric(keras.metrics.Metric):
    def __init__(self, update=lambda self, y, p: None, result=lambda self: self.total, name="own"):
        super().__init__(name=name)
        self.total = self.add_variable((), "zeros", name="total")
        self.update, self.get = update, result
    def update_state(self, y_true, y_pred, sample_weight=None): self.update(self, y_true, y_pred)
    def result(self): return self.get(self)

def fail(*unused): raise ValueError("of the recipe's own\\nin two lines")

def net(*behind, shape=(4,), **kwargs):
    return keras.Sequential([keras.Input(shape, **kwargs), *(behind or [layers.Dense(3)])])

def compiled(model, *args, **kwargs):
    model.compile(*args, **kwargs)
    return model
"""
# The first of each is right, and all of the first together are a recipe that trains.
_PARTS = {
    "config": """
        ExperimentConfig(data=DataConfig(global_batch_size=8), train=TrainConfig(epochs=1))
        ExperimentConfig(data=DataConfig(global_batch_size=64), train=TrainConfig(epochs=2))
        None
        {"epochs": 3}
        fail()
    """,
    "features": """
        random.normal(size=(COUNT, 4))
        random.integers(0, 3, (COUNT, 4))
        random.integers(0, 3, (COUNT, 4)).astype(np.uint8)
        random.integers(0, 3, (COUNT, 4)).astype(np.uint64)
        random.normal(size=(COUNT, 4)).astype(np.float16)
        random.normal(size=(COUNT, 4)).tolist()
        random.normal(size=(COUNT, 4)) > 0
        np.asfortranarray(random.normal(size=(COUNT, 4)))
        np.full((COUNT, 4), np.nan)
        np.full((COUNT, 4), np.inf)
        np.full((COUNT, 4), 1e300)
        random.normal(size=(COUNT, 5))
        random.normal(size=COUNT)
        random.normal(size=(COUNT, 4, 1))
        random.normal(size=(COUNT, 0))
        random.normal(size=(COUNT + 1, 4))
        random.normal(size=(0, 4))
        random.normal(size=(1, 4))
        random.normal(size=(COUNT, 4)) * 1j
        np.zeros((COUNT, 4), "datetime64[s]")
        np.array([["a", "b", "c", "d"]] * COUNT)
        np.array([[b"a", b"b", b"c", b"d"]] * COUNT)
        np.array([[object()] * 4] * COUNT)
        np.array([["a"] * 4] * COUNT, object)
        np.zeros(COUNT, [("a", "f4")])
        [[1.0], [1.0, 2.0]]
        [None] * COUNT
        None
        3
        "text"
        {"a": random.normal(size=(COUNT, 4))}
        {"a": random.normal(size=(COUNT, 4)), "b": random.normal(size=(COUNT, 2))}
        {"a": random.normal(size=(COUNT, 4)), "b": random.normal(size=(COUNT - 1, 2))}
        {"a": {"b": random.normal(size=(COUNT, 4))}}
        {1: random.normal(size=(COUNT, 4))}
        {}
        [random.normal(size=(COUNT, 4)), random.normal(size=(COUNT, 4))]
        tf.constant(random.normal(size=(COUNT, 4)))
        tf.ragged.constant([[1.0], [1.0, 2.0]])
        tf.data.Dataset.range(COUNT)
        np.ma.masked_array(np.zeros((COUNT, 4)), np.ones((COUNT, 4)))
        np.broadcast_to(np.float32(1), (COUNT, 4))
    """,
    "targets": """
        np.arange(COUNT) % 3
        (np.arange(COUNT) % 3).astype(np.int8)
        (np.arange(COUNT) % 3).astype(np.uint64)
        (np.arange(COUNT) % 3)[:, None]
        np.arange(COUNT) % 3 - 1
        np.arange(COUNT) % 4
        np.arange(COUNT) % 3 + 2**40
        np.eye(3)[np.arange(COUNT) % 3]
        np.eye(3, dtype=int)[np.arange(COUNT) % 3]
        np.eye(4)[np.arange(COUNT) % 3]
        np.eye(3)[:, :, None][np.arange(COUNT) % 3]
        random.normal(size=(COUNT, 3))
        random.normal(size=(COUNT, 2))
        random.normal(size=COUNT)
        np.full((COUNT, 3), np.nan)
        np.arange(COUNT) > 3
        np.array(["a", "b"] * (COUNT // 2))
        np.array([object()] * COUNT)
        np.arange(COUNT + 1) % 3
        np.arange(0)
        np.zeros((COUNT, 0))
        {"a": np.arange(COUNT) % 3}
        {"a": np.arange(COUNT) % 3, "b": random.normal(size=(COUNT, 1))}
        {"c": np.arange(COUNT) % 3, "b": random.normal(size=(COUNT, 1))}
        {}
        None
        [None] * COUNT
        2
        "text"
        (np.arange(COUNT) % 3) * 1j
        fail()
    """,
    "data": """
        {"train": (x, y), "test": (x, y)}
        {"train": Examples(lambda i: (x[i], y[i])), "test": (x, y)}
        {"train": Examples(lambda i: (x[i], y[i])), "test": Examples(lambda i: (x[i], y[i]))}
        {"train": [(a, b) for a, b in zip(x, y)], "test": (x, y)}
        {"train": (x, y)}
        {"train": (x, y), "test": (x[:0], y[:0])}
        {"train": (x, y), "test": (x, y[:3])}
        {"train": (x, y), "test": (x[:, :2], y)}
        {"train": (x, y), "test": (x, x)}
        {"train": (x, y), "test": (x, y), "other": (x, y)}
        {"train": (x, y), "test": None}
        {"train": (x, y, np.ones(COUNT)), "test": (x, y, np.ones(COUNT))}
        {"train": (x,), "test": (x,)}
        {"train": x, "test": x}
        {"train": {"x": x, "y": y}, "test": {"x": x, "y": y}}
        {"train": Examples(fail), "test": (x, y)}
        {"train": Examples(lambda i: x[i]), "test": (x, y)}
        {"train": Examples(lambda i: (x[i], y[i]), -1), "test": (x, y)}
        {"train": Examples(lambda i: (x[i], y[i]), 0), "test": (x, y)}
        {"train": Examples(lambda i: (x[i], y[i]), "3"), "test": (x, y)}
        {"train": Examples(lambda i: (x[i], y[i]), COUNT + 9), "test": (x, y)}
        {"train": Examples(lambda i: (np.ones(i), y[i])), "test": (x, y)}
        {"train": Examples(lambda i: ({"a": x[i]} if i else {"b": x[i]}, y[i])), "test": (x, y)}
        {"train": Examples(lambda i: ({"a": x[i]} if i else {"a": x[i], "b": 1}, y[i])), "test": (x, y)}
        {"train": Examples(lambda i: None), "test": (x, y)}
        {"train": iter([(x, y)]), "test": (x, y)}
        ((x, y), (x, y))
        [1, 2]
        None
        fail()
        1 / 0
        exit(3)
        keras.utils.no_such_function()
    """,
    "model": """
        net()
        net(layers.Dense(5, "relu"), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(3))
        net(layers.Dense(3, activation="softmax"))
        net(layers.Dense(1))
        net(layers.Dense(1, activation="sigmoid"))
        net(layers.Dense(1), layers.Flatten(), layers.Reshape(()))
        net(layers.Dense(3), shape=(5,))
        net(layers.Dense(3), shape=(None,))
        net(layers.Conv2D(3, 2))
        net(layers.Embedding(3, 2), layers.Flatten(), layers.Dense(3))
        net(layers.Embedding(1, 2), layers.Flatten(), layers.Dense(3), dtype="int32")
        net(layers.Reshape((2, 2)), layers.LSTM(2), layers.Dense(3))
        net(batch_size=7)
        net(dtype="string")
        net(dtype="float64")
        net(layers.Flatten())
        net(layers.Dense(3, dtype="float64"))
        net(layers.Dense(3, dtype="mixed_bfloat16"))
        net(layers.Dense(3, dtype="mixed_float16"))
        net(layers.Dense(3, kernel_initializer=keras.initializers.Constant(np.nan)))
        net(layers.Dense(3), Calls(lambda x: ops.argmax(x, -1)))
        net(layers.Dense(3), Calls(lambda x: ops.mean(x)))
        net(layers.Dense(3), Calls(lambda x: ops.mean(x, 0)))
        net(layers.Dense(3), Calls(lambda x: ops.concatenate([x, x], 0)))
        net(layers.Dense(3), Calls(lambda x: x / 0))
        net(layers.Dense(3), Calls(lambda x: tf.stop_gradient(x)))
        net(layers.Dense(3), Calls(lambda x: tf.py_function(lambda y: y, [x], tf.float32)))
        net(layers.Dense(3), Calls(lambda x: tf.numpy_function(lambda y: y, [x], tf.float32)))
        net(layers.Dense(3), Calls(lambda x: tf.as_string(x)))
        net(layers.Dense(3), Calls(fail))
        Whole(lambda self, x: self.dense(x))
        Whole(lambda self, x: {"a": self.dense(x)})
        Whole(lambda self, x: [self.dense(x), self.dense(x)])
        Whole(lambda self, x: {"a": self.dense(x), "b": self.dense(x)[:, :1]})
        Whole(lambda self, x: self.dense(x["a"]))
        Whole(lambda self, x: self.dense(x[0]))
        Whole(lambda self, x: layers.Dense(3)(x))
        Whole(lambda self, x: self.dense(x) if float(ops.sum(x)) > 0 else x)
        Whole(lambda self, x: self.dense(x).numpy())
        Whole(lambda self, x: None)
        Whole(lambda self, x: "text")
        Whole(lambda self, x: {})
        Whole(lambda self, x: [])
        Whole(lambda self, x: self.no_such_layer(x))
        Whole(lambda self, x: fail())
        Whole(lambda self, x: [self.dense(x), [self.dense(x)]])
        keras.Sequential([layers.Dense(3)])
        keras.Sequential([])
        keras.Model({"a": keras.Input((4,), name="a")}, {})
        keras.Model(i := keras.Input((4,)), [layers.Dense(3)(i), layers.Dense(1)(i)])
        keras.Model(i := keras.Input((4,)), {"a": layers.Dense(3)(i), "b": layers.Dense(1)(i)})
        keras.Model({"a": (i := keras.Input((4,), name="a"))}, layers.Dense(3)(i))
        keras.Model({"q": (i := keras.Input((4,), name="q"))}, layers.Dense(3)(i))
        compiled(net(), "adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        compiled(net(), "adam", "mse")
        compiled(net(), "adam", {"q": "mse"})
        compiled(net(), "adam", "no_such_loss")
        compiled(net(), "adam", fail)
        compiled(net(), "no_such_optimizer", "mse")
        compiled(net(), "adam", "mse", metrics=["no_such_metric"])
        compiled(net(), "adam", "mse", loss_weights=[1, 2])
        compiled(net(), "adam", "mse", weighted_metrics=["mae"])
        compiled(net(), "adam")
        layers.Dense(3)
        keras.Model
        lambda x: x
        net
        None
        3
        fail()
    """,
    "loss": """
        no
        None
        "mse"
        "sparse_categorical_crossentropy"
        "categorical_crossentropy"
        "no_such_loss"
        keras.losses.CategoricalCrossentropy(from_logits=True)
        keras.losses.MeanSquaredError(reduction="sum")
        keras.losses.MeanSquaredError(reduction=None)
        keras.losses.CTC()
        keras.losses.CosineSimilarity()
        keras.losses.SparseCategoricalCrossentropy
        {"q": "mse"}
        {"a": "mse", "b": None}
        {}
        []
        ["mse", "mse", "mse"]
        lambda y, p: ops.mean(p)
        lambda y, p: p * 0
        lambda y, p: p * np.nan
        lambda y, p: None
        lambda y, p: "text"
        lambda y, p: y
        lambda y: y
        lambda y, p: ops.cast(p, "int32")
        lambda y, p: np.ones(3)
        lambda y, p: ops.argmax(p, -1)
        fail
        fail()
        3
        object()
    """,
    "metrics": """
        no
        None
        []
        ["accuracy"]
        "accuracy"
        [["accuracy"]]
        ["no_such_metric"]
        [keras.metrics.AUC()]
        [keras.metrics.MeanIoU(3)]
        [keras.metrics.F1Score()]
        [keras.metrics.R2Score()]
        [keras.metrics.Mean()]
        [keras.metrics.Accuracy]
        [keras.metrics.SparseTopKCategoricalAccuracy(9)]
        {"q": ["accuracy"]}
        {"a": ["accuracy"]}
        [Metric()]
        [Metric(lambda self, y, p: self.total.assign_add(ops.sum(p)))]
        [Metric(lambda self, y, p: self.total.assign(np.nan))]
        [Metric(lambda self, y, p: self.total.assign(ops.max(p)))]
        [Metric(update=fail)]
        [Metric(result=fail)]
        [Metric(result=lambda self: "text")]
        [Metric(result=lambda self: None)]
        [Metric(result=lambda self: np.ones(3))]
        [Metric(result=lambda self: {"one": self.total, "two": 2.0})]
        [Metric(name="loss")]
        [Metric(), Metric()]
        [lambda y, p: ops.mean(p, -1)]
        [lambda y, p: ops.mean(p)]
        [lambda y, p: None]
        [fail]
        [None]
        [3]
        3
        fail()
    """,
    "optimizer": """
        no
        keras.optimizers.Adam(0.01)
        keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.01]))
        keras.optimizers.SGD(1e30)
        keras.optimizers.SGD(-1.0)
        keras.optimizers.SGD(np.nan)
        keras.optimizers.Adam(keras.optimizers.schedules.LearningRateSchedule())
        keras.optimizers.Adam(lambda: 0.1)
        keras.optimizers.Adam(fail)
        keras.optimizers.Muon()
        keras.optimizers.Nadam()
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
        keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=2)
        keras.optimizers.Adam
        "adam"
        None
        3
        fail()
    """,
    "rest": """
        pass
        del get_model
        del get_data
        del get_config
        get_model = None
        get_model = lambda: net()
        get_model = lambda config, data, more: net()
        get_data = lambda: {}
        get_data = 3
        get_loss = "mse"
        get_loss = lambda: "mse"
        get_metrics = ["accuracy"]
        get_optimizer = keras.optimizers.Adam()
        import no_such_module
        import sys; sys.exit(4)
        def (
        keras.config.set_floatx("float16")
        keras.config.set_dtype_policy("mixed_float16")
        fail()
        1 / 0
        COUNT = COUNT.no_such_field
    """,
}
_CHOICES = {
    part: [line.strip() for line in lines.splitlines()[1:-1]] for part, lines in _PARTS.items()
}
_RIGHT = {part: lines[0] for part, lines in _CHOICES.items()}
_ALONE = [(part, line) for part, lines in _CHOICES.items() for line in lines]
pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own, which a run prints.
_FLAGS = {"train.steps": "2", "train.reduction_blocks": "1"}


@st.composite
def _recipes(draw):
    """A recipe with up to three parts that are not the first of their kind."""
    changed = draw(st.lists(st.sampled_from(sorted(_CHOICES)), max_size=3, unique=True))
    return _RIGHT | {part: draw(st.sampled_from(_CHOICES[part])) for part in changed}


def _text(parts):
    functions = [
        f"def get_config():\n    return {parts['config']}",
        f"def get_data(config):\n    x = {parts['features']}\n    y = {parts['targets']}\n"
        f"    return {parts['data']}",
        f"def get_model(config, data):\n    return {parts['model']}",
    ]
    for name in ("loss", "metrics", "optimizer"):
        if parts[name] != "no":
            functions.append(f"def get_{name}(config):\n    return {parts[name]}")
    return "\n".join([_HEAD, *functions, parts["rest"], ""])


def _train(path, folder):
    config = config_load.resolve(str(path), _FLAGS)
    dataset = recipe_data.load(config)
    assert dataset.fingerprint
    return in_process.train(config, dataset, folder)[1]


pytestmark = pytest.mark.usefixtures("process_settings_restored")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Trains a recipe. Returns the error that it was refused with, or None."""

    def run(parts):
        import keras

        folder = tmp_path_factory.mktemp("recipe")
        path = folder / "own.py"
        path.write_text(_text(parts))
        try:
            result = _train(path, folder / "workdir")
            assert result.finished
            return None
        except InputError as error:
            return error
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")

    return run


def _check(error, parts):
    if error is None:
        return
    record = program._failure(error)
    assert record.exit_code == 2
    assert "\n" not in str(error), error
    assert len(str(error)) < 1000
    says_how = ("Received: ", "define", "Check these examples")
    assert isinstance(error, RecipeError) or any(one in str(error) for one in says_how), error


def test_the_right_parts_are_a_recipe_that_trains(outcome):
    assert outcome(_RIGHT) is None


@pytest.mark.long
@pytest.mark.parametrize("part, line", _ALONE)
def test_one_wrong_part_trains_or_ends_in_one_line(outcome, part, line):
    parts = _RIGHT | {part: line}
    _check(outcome(parts), parts)


_SETTINGS = settings(suppress_health_check=[*HealthCheck])


@settings(_SETTINGS, max_examples=15)
@given(parts=_recipes())
def test_a_recipe_of_random_parts_trains_or_ends_in_one_line(outcome, parts):
    _check(outcome(parts), parts)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(_SETTINGS, max_examples=500)
@given(parts=_recipes())
def test_five_hundred_recipes_of_random_parts_train_or_end_in_one_line(outcome, parts):
    _check(outcome(parts), parts)
