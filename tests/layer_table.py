"""Which of Keras's layers give the same bits for any division of a batch, and in a loop as step by step?

    python -m tests.layer_table [KIND...]    # one JSON line for each kind of model

It is a process of its own, as one thread has to compute each operation. Each model takes a batch of 32 in
blocks of 4, of which the last examples are padding: as a whole, as two halves and as four quarters, added
in the tree; and two steps in one loop and one by one.
"""

import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

from strategies.devices import threads

if __name__ == "__main__":
    threads.use_one_per_operation()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf

from strategies.compiled_loop import CompiledProgram, updated
from strategies.runtime import Key
from trainer.config.recipes import Recipe
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset, Split
from trainer.model import user_model

_BATCH, _BLOCK, _PADDING, _FIRST = 32, 4, 5, 7
_IMAGE, _SEQUENCE, _VECTOR = (8, 8, 3), (6, 5), (7,)
layers = keras.layers


def _stack(shape, *made: Callable) -> Callable:
    """A model of these layers, which ends in three logits."""
    return lambda: keras.Sequential(
        [keras.Input(shape), *(make() for make in made), layers.Flatten(), layers.Dense(3)]
    )


def _conv() -> keras.Layer:
    return layers.Conv2D(4, 3)


class Own(keras.Model):
    """A subclass, with a regularizer of activations."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(5, activity_regularizer="l2")
        self.normalization = layers.BatchNormalization()
        self.logits = layers.Dense(3)

    def call(self, inputs, training=False):
        hidden = self.normalization(tf.nn.relu(self.hidden(inputs)), training=training)
        return self.logits(hidden)


class Noise(keras.layers.Layer):
    """Adds to the loss, and draws from a seed of its own."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(3)

    def call(self, inputs):
        self.add_loss(0.1 * tf.reduce_mean(tf.square(inputs)))
        return inputs + keras.random.normal(tf.shape(inputs), seed=self.seed)


def _transformer() -> keras.Model:
    inputs = keras.Input(_IMAGE)
    tokens = layers.Reshape((16, 8))(layers.Conv2D(8, 2, strides=2)(inputs))
    normal = layers.LayerNormalization()(tokens)
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(normal, normal)
    tokens = layers.Dropout(0.1)(
        layers.Dense(8, activation="gelu")(layers.Add()([tokens, attended]))
    )
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(tokens)))


def _tagger() -> keras.Model:
    """Masked words, with a class for each."""
    words = keras.Input((6,), dtype="int32")
    embedded = layers.Embedding(20, 4, mask_zero=True)(words)
    return keras.Model(words, layers.Dense(3)(layers.LSTM(4, return_sequences=True)(embedded)))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "Conv1D": _stack(_SEQUENCE, lambda: layers.Conv1D(4, 3)),
    "Conv2D": _stack(_IMAGE, lambda: layers.Conv2D(4, 3, kernel_regularizer="l2")),
    "Conv3D": _stack((4, 4, 4, 2), lambda: layers.Conv3D(4, 2)),
    "Conv2DTranspose": _stack(_IMAGE, lambda: layers.Conv2DTranspose(4, 3)),
    "DepthwiseConv2D": _stack(_IMAGE, lambda: layers.DepthwiseConv2D(3)),
    "SeparableConv2D": _stack(_IMAGE, lambda: layers.SeparableConv2D(4, 3)),
    "MaxPooling2D": _stack(_IMAGE, _conv, layers.MaxPooling2D),
    "AveragePooling2D": _stack(_IMAGE, _conv, lambda: layers.AveragePooling2D(2)),
    "UpSampling2D": _stack(_IMAGE, layers.UpSampling2D, _conv),
    "ZeroPadding2D": _stack(_IMAGE, layers.ZeroPadding2D, lambda: layers.Cropping2D(1), _conv),
    "BatchNormalization": _stack(_IMAGE, _conv, layers.BatchNormalization, layers.ReLU),
    "LayerNormalization": _stack(_VECTOR, layers.LayerNormalization),
    "GroupNormalization": _stack(_IMAGE, _conv, lambda: layers.GroupNormalization(2)),
    "RMSNormalization": _stack(_VECTOR, layers.RMSNormalization),
    "UnitNormalization": _stack(_VECTOR, layers.UnitNormalization),
    "SpectralNormalization": _stack(_VECTOR, lambda: layers.SpectralNormalization(layers.Dense(4))),
    "Dropout": _stack(_VECTOR, lambda: layers.Dropout(0.5)),
    "SpatialDropout2D": _stack(_IMAGE, _conv, lambda: layers.SpatialDropout2D(0.5)),
    "AlphaDropout": _stack(_VECTOR, lambda: layers.AlphaDropout(0.5)),
    "GaussianNoise": _stack(_VECTOR, lambda: layers.GaussianNoise(0.5)),
    "GaussianDropout": _stack(_VECTOR, lambda: layers.GaussianDropout(0.5)),
    "SimpleRNN": _stack(_SEQUENCE, lambda: layers.SimpleRNN(4)),
    "LSTM": _stack(_SEQUENCE, lambda: layers.LSTM(4)),
    "GRU": _stack(_SEQUENCE, lambda: layers.GRU(4, dropout=0.2, recurrent_dropout=0.2)),
    "Bidirectional": _stack(_SEQUENCE, lambda: layers.Bidirectional(layers.LSTM(3))),
    "ConvLSTM2D": _stack((3, 6, 6, 2), lambda: layers.ConvLSTM2D(2, 3)),
    "TimeDistributed": _stack(_SEQUENCE, lambda: layers.TimeDistributed(layers.Dense(4))),
    "EinsumDense": _stack(_SEQUENCE, lambda: layers.EinsumDense("btc,cd->btd", (6, 4))),
    "PReLU": _stack(_VECTOR, lambda: layers.Dense(4), layers.PReLU),
    "RandomFlip": _stack(_IMAGE, layers.RandomFlip, lambda: layers.RandomTranslation(0.1, 0.1)),
    "RandomRotation": _stack(_IMAGE, lambda: layers.RandomRotation(0.1), _conv),
    "Lambda": _stack(_VECTOR, lambda: layers.Lambda(tf.math.sin)),
    "mixed_bfloat16": _stack(_VECTOR, lambda: layers.Dense(8, dtype="mixed_bfloat16")),
    "MultiHeadAttention": _transformer,
    "Embedding with a mask": _tagger,
    "a subclass": Own,
    "add_loss and a seed": _stack(_VECTOR, lambda: layers.Dense(4), Noise),
}


def _dataset(model: keras.Model) -> Dataset:
    random = np.random.default_rng(0)
    inputs = getattr(model, "inputs", None) or [keras.Input(_VECTOR)]
    shape, outputs = tuple(inputs[0].shape[1:]), getattr(model, "outputs", None) or []
    features: np.ndarray = random.normal(size=(_BATCH, *shape)).astype(np.float32)
    if "int" in inputs[0].dtype:
        features = random.integers(0, 20, (_BATCH, *shape))
    per_word = any(len(output.shape) == 3 for output in outputs)
    targets = random.integers(0, 3, (_BATCH, *shape) if per_word else _BATCH)
    split = Split(features, targets)
    return Dataset("made up", split, split, 0, 0, "made up", feature_scale=None)


def examine(make: Callable[[], keras.Model]) -> dict[str, bool]:
    """Whether the bits of a model's step are equal, by what was compared."""
    dataset = _dataset(make())
    recipe = Recipe(pathlib.Path("layer_table.py"), "", {"get_model": lambda config, data: make()})
    program = user_model.build(recipe, ExperimentConfig(), dataset, _BLOCK).program
    compiled = CompiledProgram(program)
    state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    weights = np.ones(_BATCH, np.float32)
    weights[-_PADDING:] = 0
    batch = tuple(map(tf.constant, (*dataset.train.arrays, weights)))

    def terms(state, part, step, share):
        key = Key(tf.constant(step), tf.constant(share))
        return compiled.gradients(state[0], part, state[2], key)

    found = {}
    whole = terms(state, batch, _FIRST, 0)
    for count in (2, 4):
        size = _BATCH // count
        shares = [tuple(array[i * size : (i + 1) * size] for array in batch) for i in range(count)]
        parts = [terms(state, share, _FIRST, index) for index, share in enumerate(shares)]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [
                ([x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]) for a, b in pairs
            ]
        found[f"{count} parts"] = _equal(whole, parts[0])
    stacked = tuple(tf.stack([array] * 2) for array in batch)
    first = Key(tf.constant(_FIRST), tf.constant(0))
    looped, _ = compiled.fused_steps(state, stacked, tf.constant(2), first)
    update = tf.function(lambda *args: updated(program, *args), autograph=False)
    for step in (_FIRST, _FIRST + 1):
        added, sums = terms(state, batch, step, 0)
        state = update(state, added, sums[-1])
    found["a loop"] = _equal(looped, state)
    found["finite"] = all(np.isfinite(array).all() for array in tf.nest.flatten(state))
    return found


def _equal(one, other) -> bool:
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def main(kinds: list[str]) -> Iterator[str]:
    for kind in kinds or MODELS:
        yield json.dumps({"kind": kind, **examine(MODELS[kind])})


if __name__ == "__main__":
    for line in main(sys.argv[1:]):
        print(line, flush=True)
