"""Which model is taken away? The trained one, which takes raw features.

What training does to features before the model sees them, `feature_scale`, becomes its first layer. The
outputs are the model's own: `outputs` says which of them are logits.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from strategies.state import State
from trainer.data.dataset import Dataset
from trainer.model.step import TrainingProgram


@dataclasses.dataclass(frozen=True)
class Signature:
    """What goes in and comes out.

    Attributes:
      inputs: by name, "" for the only one: [dtype, shape of one example].
      outputs: by name, "" for the only one: logits, binary_logits or values.
    """

    inputs: Mapping[str, tuple[str, list[int]]]
    outputs: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Signature":
        return cls(found["inputs"], found["outputs"])


def signature(program: TrainingProgram, dataset: Dataset) -> Signature:
    features = dataset.test.features
    columns = features if isinstance(features, Mapping) else {"": features}
    inputs = {name: (column.dtype.name, [*column.shape[1:]]) for name, column in columns.items()}
    return Signature(inputs, program.objective.output_kinds())


def serving_model(program: TrainingProgram, state: State, taken: Signature) -> keras.Model:
    """The program's model with the weights of `state` that evaluation uses, for raw features."""
    weights = program.evaluated(state.weights, state.slots)
    variables = [*program.model.trainable_variables, *program.forward.variables]
    for variable, value in zip(variables, [*weights, *state.layer_state], strict=True):
        variable.assign(value)
    inputs = {
        name: keras.Input(shape, dtype=dtype, name=name or "features")
        for name, (dtype, shape) in taken.inputs.items()
    }
    features = inputs.get("", inputs)
    scaled = features
    if program.feature_scale is not None:
        scaled = keras.layers.Rescaling(program.feature_scale)(features)
    outputs = program.model(scaled, training=False)
    model = keras.Model(features, outputs, name="muster_export")
    model(keras.tree.map_structure(_zeros, features))  # Keras exports to ONNX what was called once.
    return model


def _zeros(symbolic: Any) -> np.ndarray:
    return np.zeros((1, *symbolic.shape[1:]), symbolic.dtype)


def probabilities(outputs: Any, kind: str) -> np.ndarray:
    """float64 [b, ...]: logits as probabilities, values as they are."""
    values = np.asarray(outputs, np.float64)
    if kind == "binary_logits":
        return 1 / (1 + np.exp(-values))
    if kind == "logits":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    return values
