"""Which layers of a model do not train?

`freeze` sets `trainable=False` on those that `model.frozen_layers` names. Their weights become layer
state, which a checkpoint has and no step changes.
"""

import fnmatch
from collections.abc import Sequence

import keras

from trainer.config.fields import ConfigError, short_json


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Sets `trainable` of each layer whose name matches a pattern, such as "encoder" or "block_*".

    A layer within another is also named by its path: "encoder/dense".

    Raises ConfigError where a pattern matches no layer, or nothing is left to train.
    """
    layers = _layers(model)
    for pattern in patterns:
        found = [layer for names, layer in layers if _match(names, pattern)]
        if not found:
            paths = sorted(path for (_, path), _ in layers)
            raise ConfigError(
                "`model.frozen_layers` must name layers of the model. Received: "
                f"{short_json(pattern)}; the layers are {', '.join(paths)}."
            )
        for layer in found:
            layer.trainable = False
    if patterns and not model.trainable_variables:
        raise ConfigError(
            "`model.frozen_layers` must leave weights to train. Received: "
            f"{short_json(','.join(patterns))}, which freezes all; name fewer."
        )


def _layers(model: keras.Model) -> list[tuple[tuple[str, str], keras.layers.Layer]]:
    """((name, path), layer) of each layer with weights or layers of its own."""
    return [
        ((layer.name, layer.path.removeprefix(f"{model.name}/")), layer)
        for layer in model._flatten_layers(include_self=False)
        if layer.weights or layer._layers
    ]


def _match(names: Sequence[str], pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)
