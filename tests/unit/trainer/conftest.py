"""What do tests of recipes with models of their own share?"""

import pytest


@pytest.fixture
def process_settings_restored(monkeypatch):
    """After the test, what a recipe's own model sets for its process is as before."""
    import keras
    import tensorflow as tf

    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "2")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
