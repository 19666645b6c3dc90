"""Keras's layers by name, each as a branch of a small net: --config.name=GROUP or --config.name=LAYER.

Every branch ends in a head of its own. Their sum is the net's output, so all of a group learn at once.
"""

# ruff: noqa: PLW0108, as each net needs layers of its own.

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig

SHAPES = {
    "line": (12, 3),
    "image": (8, 8, 3),
    "film": (3, 6, 6, 2),
    "numbers": (6,),
    "words": (7,),
    "text": (1,),
}
CLASSES, VOCABULARY = 3, 9


class Scaled(keras.layers.Layer):
    """A custom layer with a weight, a penalty, and a count and an average among its state."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.calls = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="calls"
        )
        self.average = self.add_weight(
            shape=(shape[-1],), initializer="zeros", trainable=False, name="average"
        )

    def call(self, x, training=False):
        self.add_loss(0.1 * ops.mean(ops.square(x * self.scale)))
        if training:
            self.calls.assign_add(1)
            self.average.assign(0.9 * self.average + 0.1 * ops.mean(x, axis=0))
        return x * self.scale + self.average


class Noise(keras.layers.Layer):
    """A custom layer with a seed of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(5)

    def call(self, x, training=False):
        if training:
            x = x + 0.1 * keras.random.normal(ops.shape(x), seed=self.seeds)
        return x


class Subclassed(keras.Model):
    """A subclassed model as a layer, which calls one of its layers twice."""

    def __init__(self):
        super().__init__()
        self.inner = layers.Dense(6, activation="tanh")
        self.drop = layers.Dropout(0.2)

    def call(self, x, training=False):
        return self.inner(self.drop(self.inner(x), training=training))


def _nested(x):
    inside = layers.Input((6,))
    hidden = layers.BatchNormalization()(layers.Dense(5)(inside))
    return keras.Model(inside, layers.Dropout(0.3)(hidden))(x)


def _shared(x):
    shared = layers.Dense(6, activation="tanh")
    return layers.Subtract()([shared(x), shared(shared(x))])


def _frozen(x):
    layer = layers.BatchNormalization()
    layer.trainable = False
    return layers.Dense(4)(layer(x))


def _adapted(layer, x, data):
    layer.adapt(data)
    return layer(x)


def _embedded(x):
    """An embedding that masks the word 0."""
    return layers.Embedding(VOCABULARY, 4, mask_zero=True)(x)


def _one_hot(x):
    return layers.CategoryEncoding(VOCABULARY, "multi_hot")(x)


# For each kind of input, a function from it to a branch.
LAYERS: dict[str, dict[str, Callable]] = {
    "line": {
        "conv1d": lambda x: layers.Conv1D(4, 3)(x),
        "conv1d_causal": lambda x: layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(x),
        "conv1d_transpose": lambda x: layers.Conv1DTranspose(4, 3, strides=2)(x),
        "separable_conv1d": lambda x: layers.SeparableConv1D(4, 3, depth_multiplier=2)(x),
        "depthwise_conv1d": lambda x: layers.DepthwiseConv1D(3)(x),
        "max_pooling1d": lambda x: layers.MaxPooling1D(3)(x),
        "average_pooling1d": lambda x: layers.AveragePooling1D(3)(x),
        "global_max_pooling1d": lambda x: layers.GlobalMaxPooling1D()(x),
        "global_average_pooling1d": lambda x: layers.GlobalAveragePooling1D()(x),
        "upsampling1d": lambda x: layers.UpSampling1D(2)(x),
        "cropping1d": lambda x: layers.Cropping1D(2)(x),
        "zero_padding1d": lambda x: layers.ZeroPadding1D(2)(x),
        "spatial_dropout1d": lambda x: layers.SpatialDropout1D(0.4)(x),
        "lstm": lambda x: layers.LSTM(4)(x),
        "lstm_dropout": lambda x: layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2)(x),
        "gru": lambda x: layers.GRU(4, return_sequences=True)(x),
        "simple_rnn": lambda x: layers.SimpleRNN(4, unroll=True)(x),
        "bidirectional": lambda x: layers.Bidirectional(layers.GRU(3))(x),
        "stacked_rnn": lambda x: layers.RNN([layers.GRUCell(3), layers.LSTMCell(3)])(x),
        "time_distributed": lambda x: layers.TimeDistributed(layers.Dense(3))(x),
        "multi_head_attention": lambda x: layers.MultiHeadAttention(2, 4, dropout=0.2)(x, x),
        "causal_attention": lambda x: layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True),
        "group_query_attention": lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x),
        "attention": lambda x: layers.Attention(use_scale=True, dropout=0.2)([x, x]),
        "additive_attention": lambda x: layers.AdditiveAttention()([x, x]),
        "masking": lambda x: layers.LSTM(3)(layers.Masking(0.0)(x)),
        "permute": lambda x: layers.Permute((2, 1))(x),
    },
    "image": {
        "conv2d": lambda x: layers.Conv2D(4, 3, strides=2)(x),
        "conv2d_groups": lambda x: layers.Conv2D(6, 3, groups=3, padding="same")(x),
        "conv2d_transpose": lambda x: layers.Conv2DTranspose(4, 3, strides=2)(x),
        "separable_conv2d": lambda x: layers.SeparableConv2D(4, 3)(x),
        "depthwise_conv2d": lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x),
        "max_pooling2d": lambda x: layers.MaxPooling2D()(x),
        "average_pooling2d": lambda x: layers.AveragePooling2D(2)(x),
        "global_max_pooling2d": lambda x: layers.GlobalMaxPooling2D()(x),
        "global_average_pooling2d": lambda x: layers.GlobalAveragePooling2D()(x),
        "upsampling2d": lambda x: layers.UpSampling2D(interpolation="bilinear")(x),
        "batch_normalization": lambda x: layers.BatchNormalization(momentum=0.8)(x),
        "layer_normalization": lambda x: layers.LayerNormalization()(x),
        "group_normalization": lambda x: layers.GroupNormalization(3)(x),
        "rms_normalization": lambda x: layers.RMSNormalization()(x),
        "unit_normalization": lambda x: layers.UnitNormalization()(x),
        "spectral_normalization": lambda x: layers.SpectralNormalization(layers.Conv2D(4, 3))(x),
        "dropout": lambda x: layers.Dropout(0.3)(x),
        "spatial_dropout2d": lambda x: layers.SpatialDropout2D(0.4)(x),
        "random_flip": lambda x: layers.RandomFlip(seed=1)(x),
        "random_rotation": lambda x: layers.RandomRotation(0.1)(x),
        "random_translation": lambda x: layers.RandomTranslation(0.1, 0.1)(x),
        "random_zoom": lambda x: layers.RandomZoom(0.2)(x),
        "random_contrast": lambda x: layers.RandomContrast(0.3, value_range=(0, 1))(x),
        "random_brightness": lambda x: layers.RandomBrightness(0.2, value_range=(0, 1))(x),
        "center_crop": lambda x: layers.CenterCrop(6, 6)(x),
        "resizing": lambda x: layers.Resizing(5, 5)(x),
        "rescaling": lambda x: layers.Rescaling(0.5, 0.1)(x),
        "zero_padding2d": lambda x: layers.Cropping2D(2)(layers.ZeroPadding2D(3)(x)),
        "prelu": lambda x: layers.PReLU()(x - 0.5),
    },
    "film": {
        "conv3d": lambda x: layers.Conv3D(3, 2)(x),
        "conv3d_transpose": lambda x: layers.Conv3DTranspose(3, 2)(x),
        "max_pooling3d": lambda x: layers.MaxPooling3D((1, 2, 2))(x),
        "average_pooling3d": lambda x: layers.AveragePooling3D((1, 2, 2))(x),
        "spatial_dropout3d": lambda x: layers.SpatialDropout3D(0.4)(x),
        "conv_lstm2d": lambda x: layers.ConvLSTM2D(2, 3)(x),
    },
    "numbers": {
        "dense": lambda x: layers.Dense(6, activation="gelu", kernel_regularizer="l1l2")(x),
        "einsum_dense": lambda x: layers.EinsumDense("ab,bc->ac", 5, bias_axes="c")(x),
        "reshape": lambda x: layers.Conv1D(2, 2)(layers.Reshape((3, 2))(x)),
        "repeat_vector": lambda x: layers.RepeatVector(2)(x),
        "alpha_dropout": lambda x: layers.AlphaDropout(0.3)(x),
        "gaussian_noise": lambda x: layers.GaussianNoise(0.2)(x),
        "gaussian_dropout": lambda x: layers.GaussianDropout(0.3)(x),
        "activity_regularization": lambda x: layers.ActivityRegularization(0.01, 0.01)(
            layers.Dense(4)(x)
        ),
        "normalization": lambda x: _adapted(layers.Normalization(), x, _numbers(50, 3)),
        "discretization": lambda x: layers.Embedding(5, 2)(
            _adapted(layers.Discretization(num_bins=5), x, _numbers(50, 3))
        ),
        "lambda": lambda x: layers.Lambda(lambda y: ops.concatenate([ops.sin(y), y], -1))(x),
        "activations": lambda x: layers.Softmax()(
            layers.ELU()(layers.LeakyReLU()(layers.Dense(5, "silu")(x)))
        ),
        "merging": lambda x: layers.Concatenate()(
            [layers.Multiply()([x, layers.Dense(6)(x)]), layers.Dot(1)([x, layers.Dense(6)(x)])]
        ),
        "custom": lambda x: Scaled()(x),
        "own_seed": lambda x: Noise()(x),
        "nested": _nested,
        "shared": _shared,
        "subclassed": lambda x: Subclassed()(x),
        "frozen": _frozen,
        "mixed_bfloat16": lambda x: layers.Dense(8, dtype="mixed_bfloat16")(x),
    },
    "words": {
        "embedding": lambda x: layers.LSTM(3)(_embedded(x)),
        "masked_pooling": lambda x: layers.GlobalAveragePooling1D()(_embedded(x)),
        "masked_bidirectional": lambda x: layers.Bidirectional(layers.LSTM(2))(_embedded(x)),
        "masked_batch_normalization": lambda x: layers.GRU(2)(
            layers.BatchNormalization()(_embedded(x))
        ),
        "category_encoding": lambda x: layers.CategoryEncoding(VOCABULARY, "count")(x),
        "hashing": lambda x: _one_hot(layers.Hashing(VOCABULARY)(x)),
        "integer_lookup": lambda x: _one_hot(layers.IntegerLookup(vocabulary=[4, 2, 7])(x)),
        "hashed_crossing": lambda x: layers.HashedCrossing(5, output_mode="one_hot")(
            (x[:, 0], x[:, 1])
        ),
    },
    "text": {
        "string_lookup": lambda x: layers.StringLookup(
            vocabulary=["a", "b"], output_mode="multi_hot"
        )(x),
        "text_vectorization": lambda x: layers.Embedding(6, 2)(
            layers.TextVectorization(vocabulary=["a", "b", "c"], output_sequence_length=4)(x)
        ),
        "text_hashing": lambda x: _one_hot(layers.Hashing(VOCABULARY)(x)),
    },
}


def inputs_of(name: str) -> dict[str, list[str]]:
    """For each input that the net of this name has, its layers. `name`: of an input, or a layer."""
    if name in LAYERS:
        return {name: list(LAYERS[name])}
    return {kind: [name] for kind, own in LAYERS.items() if name in own}


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        name="image",
        data=DataConfig(global_batch_size=16, train_examples=36),
        train=TrainConfig(epochs=2),
    )


def get_data(config):
    return {"train": _examples(config.name, 40, 1), "test": _examples(config.name, 20, 2)}


def get_model(config, data) -> keras.Model:
    inputs, heads = {}, []
    for kind, names in inputs_of(config.name).items():
        dtype = {"words": "int32", "text": "string"}.get(kind)
        inputs[kind] = x = keras.Input(SHAPES[kind], name=kind, dtype=dtype)
        for name in names:
            branch = ops.cast(LAYERS[kind][name](x), "float32")
            head = layers.Dense(CLASSES, name=f"head_of_{name}")
            heads.append(head(layers.Flatten()(branch)))
    return keras.Model(inputs, layers.Add()(heads) if len(heads) > 1 else heads[0])


def _examples(name, count, seed):
    random = np.random.default_rng(seed)
    features = {}
    for kind in inputs_of(name):
        if kind == "words":
            features[kind] = random.integers(0, VOCABULARY, (count, *SHAPES[kind]))
        elif kind == "text":
            features[kind] = random.choice(["a b", "b", "c a", "d"], (count, *SHAPES[kind]))
        else:
            features[kind] = random.uniform(size=(count, *SHAPES[kind])).astype(np.float32)
    return features, random.integers(0, CLASSES, count)


def _numbers(count, seed):
    return np.random.default_rng(seed).uniform(size=(count, *SHAPES["numbers"])).astype(np.float32)
