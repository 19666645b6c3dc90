"""Small nets that Keras itself can repeat: --config.name=NET. Each is compiled, in one block, unshuffled.

Nothing in them is random, as a seed means other numbers here than in `fit`.
"""

import keras
import numpy as np
from keras import layers

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig

EXAMPLES, BATCH, EPOCHS = 160, 16, 5  # 50 steps.
_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
_SHAPES = {"conv": (8, 8, 2), "batch_norm": (8, 8, 2), "gru": (6, 3), "attention": (6, 4)}


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        name="dense",
        data=DataConfig(global_batch_size=BATCH, shuffle=False),
        train=TrainConfig(epochs=EPOCHS, reduction_blocks=1, eval_every_epochs=0),
    )


def get_data(config):
    random = np.random.default_rng(3)
    x = random.normal(size=(EXAMPLES, *_SHAPES.get(config.name, (6,)))).astype(np.float32)
    classes = np.argmax(x.reshape(EXAMPLES, -1)[:, :3], axis=1)
    y = classes
    if config.name == "multi_output":
        y = {"kind": classes, "value": x.sum(1, keepdims=True)}
    both = x, y
    return {"train": both, "test": both}


def get_model(config, data) -> keras.Model:
    x = keras.Input(data["train"][0].shape[1:])
    return NETS[config.name](x)


def _classifier(x, y, optimizer):
    model = keras.Model(x, layers.Dense(3)(y))
    model.compile(optimizer, _LOGITS)
    return model


def _dense(x):
    return _classifier(x, layers.Dense(8, "tanh")(x), keras.optimizers.Adam(0.01))


def _conv(x):
    y = layers.Conv2D(6, 3, activation="tanh", padding="same")(x)
    y = layers.SeparableConv2D(4, 3, activation="gelu")(layers.AveragePooling2D(2)(y))
    return _classifier(x, layers.Flatten()(y), keras.optimizers.SGD(0.05, momentum=0.9))


def _batch_norm(x):
    y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(6, 3, use_bias=False)(x))
    y = layers.GlobalAveragePooling2D()(layers.Activation("silu")(y))
    y = layers.BatchNormalization(momentum=0.8)(layers.Dense(8)(y))
    return _classifier(x, layers.Activation("tanh")(y), keras.optimizers.SGD(0.05))


def _gru(x):
    y = layers.Bidirectional(layers.GRU(5, return_sequences=True))(x)
    return _classifier(x, layers.GRU(4)(y), keras.optimizers.RMSprop(0.005))


def _attention(x):
    y = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    y = layers.LayerNormalization()(y + layers.Dense(4)(layers.Dense(8, "gelu")(y)))
    return _classifier(x, layers.Flatten()(y), keras.optimizers.SGD(0.05, momentum=0.9))


def _multi_output(x):
    y = layers.Dense(8, "tanh")(x)
    model = keras.Model(
        x, {"kind": layers.Dense(3, name="kind")(y), "value": layers.Dense(1, name="value")(y)}
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        {"kind": _LOGITS, "value": keras.losses.Huber()},
        loss_weights={"kind": 0.7, "value": 2.0},
    )
    return model


def _regularizers(x):
    y = layers.Dense(8, "tanh", kernel_regularizer="l2", bias_regularizer="l1")(x)
    y = layers.Dense(6, activity_regularizer=keras.regularizers.L2(0.05))(y)
    y = layers.ActivityRegularization(l2=0.02)(layers.Activation("tanh")(y))
    return _classifier(x, y, keras.optimizers.SGD(0.1))


def _schedule(x):
    schedule = keras.optimizers.schedules.CosineDecay(
        0.002, 40, warmup_target=0.02, warmup_steps=10
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.02, global_clipnorm=0.5)
    y = layers.Dense(8, "tanh", kernel_constraint=keras.constraints.MaxNorm(1.5))(x)
    return _classifier(x, y, optimizer)


NETS = {
    "dense": _dense,
    "conv": _conv,
    "batch_norm": _batch_norm,
    "gru": _gru,
    "attention": _attention,
    "multi_output": _multi_output,
    "regularizers": _regularizers,
    "schedule": _schedule,
}
