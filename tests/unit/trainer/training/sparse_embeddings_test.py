"""Is it said how each table is sent, and refused where rows alone would give other weights?"""

import keras
import pytest

from strategies import choose
from strategies.cluster.spec import ClusterSpec, Task
from tests.paths import ROOT
from trainer.config import load
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data, registry
from trainer.model import user_optimizer
from trainer.model.optimizers import Optimizers
from trainer.training import programs, sparse_embeddings

RECIPE = str(ROOT / "tests" / "recipes" / "tables.py")
CONFIG = load.resolve(RECIPE, {"ps.sparse_embeddings": "true"})


@pytest.fixture(scope="module")
def dataset():
    return recipe_data.load(CONFIG)


@pytest.fixture
def program(dataset):
    return programs.training_program(CONFIG, dataset)


def test_it_is_said_which_rows_of_which_table_are_sent_in_how_many_bytes(program, dataset):
    words, users, items, places, kinds = sparse_embeddings.describe(
        CONFIG, program, dataset
    ).splitlines()
    first = dataset.train.first(32).features
    used = len({*first["words"].ravel().tolist()})
    size = used * (4 + 2 * 16 * 4)  # The row's number; with Adagrad's accumulator.
    assert words == (
        f"words_table/embeddings: by rows; 32 examples use {used} of 20,000, {size:,} bytes instead of "
        "2,560,000"
    )
    used = len({*first["pairs"][:, 0].tolist()})
    assert f"use {used} of 501, {36 * used:,} bytes instead of 16,032" in users
    assert items.startswith("likes/embedding_2/embeddings: by rows; ")
    assert places == (
        "places/embedding/embeddings: whole, as its indices do not follow from the features alone"
    )
    assert kinds == "kinds_table/embeddings: whole, as a Square reads it, too"


def test_a_program_has_tables_only_where_they_are_asked_for(program, dataset):
    sparse_embeddings.prepare(load.resolve(RECIPE, {}), program, dataset)
    assert not program.tables
    sparse_embeddings.prepare(CONFIG, program, dataset)
    names = [program.weight_names[index].partition("/")[0] for index in program.tables]
    assert names == ["words_table", "likes", "likes"]


@pytest.mark.parametrize(
    "optimizer, expected",
    [
        (
            keras.optimizers.Adam(),
            "for the optimizer Adam, which changes the embeddings momentum of all rows of "
            "`words_table/embeddings` in each step. Received: true; leave it out, or choose sgd without "
            "momentum, or adagrad.",
        ),
        (
            keras.optimizers.SGD(momentum=0.9),
            "for the optimizer SGD, which changes the embeddings mom",
        ),
        (
            keras.optimizers.SGD(weight_decay=0.1),
            "for the optimizer SGD, which changes the weight of",
        ),
        (
            keras.optimizers.Adagrad(use_ema=True),
            "for the optimizer Adagrad, which changes the emb",
        ),
        (
            keras.optimizers.SGD(clipnorm=1.0),
            "for the optimizer SGD, whose update of `words_table/embeddings` has a Sum, which connects "
            "its rows",
        ),
    ],
)
def test_an_optimizer_that_changes_unused_rows_or_connects_rows_is_refused(
    optimizer, expected, program, dataset
):
    weights, make = program.model.trainable_variables, user_optimizer.for_each_weight(optimizer)
    program.optimizers = Optimizers(weights, program.weight_names, make, shares=False)
    with pytest.raises(ConfigError) as error:
        sparse_embeddings.prepare(CONFIG, program, dataset)
    assert f"`ps.sparse_embeddings` must be false {expected}" in str(error.value)


def test_a_model_without_embeddings_is_refused():
    config = load.override(ExperimentConfig(), {"ps.sparse_embeddings": "true"})
    dataset = registry.load(config.data)
    program = programs.training_program(config, dataset)
    expected = "`ps.sparse_embeddings` must be false for a model without embeddings. Received: true"
    with pytest.raises(ConfigError, match=expected):
        sparse_embeddings.prepare(config, program, dataset)


def test_a_model_whose_embeddings_are_all_whole_is_refused_with_the_reason(program, dataset):
    found = sparse_embeddings._found(program, dataset)
    for layer in program.model._flatten_layers():
        if isinstance(layer, keras.layers.Embedding):
            layer.embeddings_regularizer = layer.embeddings.regularizer = keras.regularizers.L2(1.0)
    with pytest.raises(
        ConfigError, match=r"features: `words_table/embeddings` is sent whole, as a "
    ):
        sparse_embeddings.prepare(CONFIG, program, dataset)
    assert len(found.tables) == 3


@pytest.mark.parametrize("jobs, is_right", [((), False), (("worker",), False), (("ps",), True)])
def test_it_needs_parameter_servers(jobs, is_right):
    others = {"chief": ("h:3",), "ps": ("h:4",)} if "ps" in jobs else {}
    addresses = {"worker": ("h:1", "h:2"), **others}
    cluster = ClusterSpec(addresses, Task("worker", 0)) if jobs else ClusterSpec()
    choice = choose.choose(cluster)
    sparse_embeddings.check_choice(ExperimentConfig(), choice)
    if is_right:
        sparse_embeddings.check_choice(CONFIG, choice)
    else:
        with pytest.raises(ConfigError, match="which has no parameter servers. Received: true"):
            sparse_embeddings.check_choice(CONFIG, choice)
