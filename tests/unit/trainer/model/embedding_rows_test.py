"""Are the weights found of which only rows are read, and the rows that examples read?"""

import numpy as np
import pytest
import tensorflow as tf

from tests.paths import ROOT
from trainer.config import load
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data, registry
from trainer.model import embedding_rows
from trainer.training import programs

HEAD = """
import keras
import numpy as np
from keras import ops
from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig

class Own(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.table = keras.layers.Embedding(30, 2)
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        CALL

def get_config():
    return ExperimentConfig(optimizer=OptimizerConfig("sgd"), data=DataConfig(global_batch_size=8))

def get_data(config):
    x = np.arange(160, dtype=np.int32).reshape(40, 4) % 30
    return {"train": (x, np.arange(40) % 3), "test": (x, np.arange(40) % 3)}

def get_model(config, data):
    return keras.Sequential(
        [keras.Input((4,), dtype="int32"), Own(), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
"""


def _program(path):
    config = load.resolve(str(path), {})
    dataset = recipe_data.load(config)
    return programs.training_program(config, dataset), dataset


def _found(tmp_path, call):
    path = tmp_path / "own.py"
    path.write_text(HEAD.replace("CALL", call))
    program, dataset = _program(path)
    return embedding_rows.find(program, dataset.train.arrays), dataset


def test_rows_of_functional_and_own_layers_are_found():
    program, dataset = _program(ROOT / "tests" / "recipes" / "tables.py")
    found = embedding_rows.find(program, dataset.train.arrays)
    names = program.weight_names
    assert [names[index] for index in found.tables] == [
        "words_table/embeddings",
        "likes/embedding_1/embeddings",
        "likes/embedding_2/embeddings",
    ]
    assert {names[index]: why for index, why in found.whole.items()} == {
        "places/embedding/embeddings": "its indices do not follow from the features alone",
        "kinds_table/embeddings": "a Square reads it, too",
    }
    sample = dataset.train.first(5)
    columns = tuple(tf.constant(array) for array in sample.arrays)
    words, users, items = (read(columns).numpy().tolist() for read in found.tables.values())
    assert words == sample.features["words"].ravel().tolist()
    assert [users, items] == sample.features["pairs"].T.tolist()


@pytest.mark.parametrize(
    "call, expected",
    [
        ("return self.table(x)", lambda x: x),
        ("return self.table(x) + self.table(x[:, :1] + 1)", lambda x: np.append(x, x[:, 0] + 1)),
        ("return self.table(ops.where(x > 20, 0, x))", lambda x: np.where(x > 20, 0, x)),
    ],
)
def test_rows_follow_from_the_features(call, expected, tmp_path):
    found, dataset = _found(tmp_path, call)
    (read,) = found.tables.values()
    features = dataset.train.features[:7]
    rows = read((tf.constant(features), tf.zeros([7], tf.int64)))
    assert sorted(rows.numpy().tolist()) == sorted(np.ravel(expected(features)).tolist())


@pytest.mark.parametrize(
    "call, expected",
    [
        (
            "return self.table(x) @ ops.transpose(self.table.embeddings)",
            "a Transpose reads it, too",
        ),
        ("return self.table(ops.flip(x, 0))", "its indices come from a ReverseV2"),
        (
            "return self.table(ops.concatenate([x[:1], x[1:]], 0))",
            "its indices come from a ConcatV2",
        ),
        ("return self.table(x + 0 * x[:1])", "its indices come from a StridedSlice"),
        (
            "return self.table(keras.random.randint(ops.shape(x), 0, 9, seed=self.seeds))",
            "its indices come from a StatelessRandom",
        ),
        (
            "return self.table(x + ops.cast(self.seeds.state.value[0] * 0, 'int32'))",
            "its indices come from a StridedSlice",
        ),
    ],
)
def test_a_weight_whose_rows_are_not_known_is_whole(call, expected, tmp_path):
    found, _ = _found(tmp_path, call)
    assert not found.tables
    (why,) = found.whole.values()
    assert why.startswith(expected)


def test_a_dense_net_has_none_of_either():
    config = ExperimentConfig()
    dataset = registry.load(config.data)
    program = programs.training_program(config, dataset)
    found = embedding_rows.find(program, dataset.train.arrays)
    assert not found.tables and not found.whole
