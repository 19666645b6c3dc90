"""The net of `cnn.py`, computed in bfloat16 with weights in float32."""

import cnn
import keras


def get_config():
    return cnn.get_config()


def get_model(config, data) -> keras.Model:
    keras.config.set_dtype_policy("mixed_bfloat16")
    return cnn.get_model(config, data)
