"""Does a frozen layer keep its weights while others train, and does an unknown name get a list?"""

import keras
import numpy as np
import pytest

from tests.unit.trainer.config.load_test import message
from tests.unit.trainer.training import in_process
from trainer.config.schema import DataConfig, ExperimentConfig, ModelConfig, TrainConfig
from trainer.data import recipe_data
from trainer.model import frozen_layers


def _nested() -> keras.Model:
    dense = keras.layers.Dense
    inner = keras.Sequential([keras.Input((4,)), dense(4, name="a"), dense(4, name="b")], name="in")
    return keras.Sequential([keras.Input((4,)), inner, dense(2, name="c")])


@pytest.mark.parametrize(
    "patterns, trained",
    [([], "abc"), (["in"], "c"), (["in/a"], "bc"), (["[ac]"], "b"), (["a", "c"], "b")],
)
def test_layers_are_frozen_by_name_path_or_pattern(patterns, trained):
    model = _nested()
    frozen_layers.freeze(model, patterns)
    names = {variable.path.split("/")[-2] for variable in model.trainable_variables}
    assert names == {*trained}


def test_unknown_names_and_a_model_without_anything_to_train_are_refused():
    assert message(frozen_layers.freeze, _nested(), ["a", "d*"]) == (
        '`model.frozen_layers` must name layers of the model. Received: "d*"; the layers are c, in, '
        "in/a, in/b."
    )
    all_frozen = message(frozen_layers.freeze, _nested(), ["in", "c"])
    assert all_frozen.startswith("`model.frozen_layers` must leave weights to train.")


def test_a_frozen_layer_of_a_built_in_net_keeps_its_bits(tmp_path):
    config = ExperimentConfig(
        data=DataConfig(train_examples=64),
        model=ModelConfig(hidden_units=(8,), frozen_layers="hidden_1"),
        train=TrainConfig(steps=2),
    )
    parts, result = in_process.train(config, recipe_data.load(config), tmp_path)
    initial = parts.computation.program.initial_state()
    assert all(map(np.array_equal, result.state.layer_state, initial.layer_state))
    assert [one.shape for one in result.state.layer_state] == [(784, 8), (8,)]
    assert not np.array_equal(result.state.weights[0], initial.weights[0])
