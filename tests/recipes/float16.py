"""The net of `cnn.py` in float16, whose loss is scaled so high at first that steps are skipped.

Its optimizer keeps averages of the weights, with which it is evaluated.
"""

import cnn
import keras


def get_config():
    return cnn.get_config()


def get_model(config, data) -> keras.Model:
    keras.config.set_dtype_policy("mixed_float16")
    return cnn.get_model(config, data)


def get_optimizer(config):
    inner = keras.optimizers.Nadam(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=4)
    return keras.optimizers.LossScaleOptimizer(inner, 2.0**22, dynamic_growth_steps=2)
