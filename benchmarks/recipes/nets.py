"""Which nets besides the dense one are measured, as a user of Keras writes them?

From float32 [b, 784] (the recipes of this trainer: [b, 28, 28]) to logits [b, 10]. The recipes beside
this module import it, and so do the peers that run Keras.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

PATCH, PATCHES, WIDTH, HEADS, LAYERS = 7, 16, 64, 4, 2  # Of the transformer.
UNITS = 64  # Of the GRU.


def build(keras: ModuleType, name: str, shape: tuple[int, ...]) -> Any:
    """The model of this name for images of this shape, with first weights from Keras's global seed."""
    image = keras.Input(shape)
    return keras.Model(image, _NETS[name](keras.layers, image), name=name)


def cnn(layers: Any, image: Any) -> Any:
    """Two convolutions of 32 and 64 filters and a dense layer of 128: 421,642 weights."""
    hidden = layers.Reshape((28, 28, 1))(image)
    for filters in (32, 64):
        hidden = layers.Conv2D(filters, 3, padding="same", activation="relu")(hidden)
        hidden = layers.MaxPooling2D()(hidden)
    return layers.Dense(10)(layers.Dense(128, activation="relu")(layers.Flatten()(hidden)))


def cnn_norm(layers: Any, image: Any) -> Any:
    """The same convolutions with batch normalization, and dropout in place of the dense layer."""
    hidden = layers.Reshape((28, 28, 1))(image)
    for filters in (32, 64):
        hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
        hidden = layers.MaxPooling2D()(hidden)
    return layers.Dense(10)(layers.Dropout(0.5)(layers.Flatten()(hidden)))


def transformer(layers: Any, image: Any) -> Any:
    """Two layers of attention and a dense part over 16 patches of 7 x 7, 64 wide, without dropout."""
    hidden = layers.Conv2D(WIDTH, PATCH, strides=PATCH)(layers.Reshape((28, 28, 1))(image))
    hidden = layers.Reshape((PATCHES, WIDTH))(hidden)
    for _ in range(LAYERS):
        normalized = layers.LayerNormalization()(hidden)
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(normalized, normalized)
        hidden = layers.Add()([hidden, attended])
        inner = layers.Dense(2 * WIDTH, activation="relu")(layers.LayerNormalization()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(WIDTH)(inner)])
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))
    return layers.Dense(10)(pooled)


def gru(layers: Any, image: Any) -> Any:
    """A GRU that reads the 28 rows, and a dense layer."""
    return layers.Dense(10)(layers.GRU(UNITS)(layers.Reshape((28, 28))(image)))


_NETS: dict[str, Callable[[Any, Any], Any]] = {
    "cnn": cnn, "cnn_norm": cnn_norm, "transformer": transformer, "gru": gru,
}  # fmt: skip
