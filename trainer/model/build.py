"""Which Keras model does a config name?

`build` makes it: a stack of dense layers, whose first weights follow from the seed.
"""

import numpy as np

from trainer.config.schema import ModelConfig


def build(config: ModelConfig, feature_shape: tuple[int, ...], num_outputs: int, seed: int):
    """A Keras model from float32 features `[b, *feature_shape]` to outputs `[b, num_outputs]`.

    Classifiers end in logits: the loss applies the softmax, once. Each layer is named and seeded by its
    position, so that every process builds the same weights.
    """
    import keras

    def dense(position: int, units: int, activation: str, name: str):
        initializer = keras.initializers.GlorotUniform(seed=seed * 1000 + position)
        penalty = keras.regularizers.L1L2(config.l1, config.l2) if config.l1 or config.l2 else None
        return keras.layers.Dense(
            units,
            activation=activation or None,
            kernel_initializer=initializer,
            kernel_regularizer=penalty,
            name=name,
        )

    layers = [keras.Input(feature_shape)]
    if len(feature_shape) > 1:
        layers.append(keras.layers.Reshape((int(np.prod(feature_shape)),)))
    for position, units in enumerate(config.hidden_units):
        layers.append(dense(position, units, config.activation, f"hidden_{position + 1}"))
        if config.dropout:
            layers.append(keras.layers.Dropout(config.dropout, seed=seed * 1000 + 500 + position))
    layers.append(dense(len(config.hidden_units), num_outputs, config.output_activation, "output"))
    return keras.Sequential(layers, name=config.name)
