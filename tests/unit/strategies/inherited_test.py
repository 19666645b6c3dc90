"""Do a user's Keras settings and a machine's proxies stay out of a run?"""

import json
import os
import subprocess
import sys

import pytest

from strategies import inherited
from tests.paths import ROOT

_KERAS = """
import os, sys
from strategies import tensorflow_import
tensorflow_import.set_environ_defaults()
import keras
from keras.src.backend import config
print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(),
      keras.config.epsilon(), keras.config.max_epochs(), config.keras_home(),
      os.environ.get("KERAS_HOME"))
"""


def _keras_settings(**environ):
    environ = {**os.environ, **environ}
    done = subprocess.run(
        [sys.executable, "-c", _KERAS], capture_output=True, text=True, timeout=120, env=environ,
        check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"floatx": "float64", "backend": "torch", "epsilon": 1e-3,
                    "image_data_format": "channels_first"}),
        pytest.param('{"floatx": "float128"}', marks=pytest.mark.long),
        pytest.param("[1]", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_keras_has_its_defaults_whatever_the_user_has_set(tmp_path, text):
    (tmp_path / "keras.json").write_text(text)
    variables = {"KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "many", "KERAS_HOME": str(tmp_path)}
    home = str(tmp_path)
    expected = ["tensorflow", "float32", "channels_last", "1e-07", "None", home, home]
    assert _keras_settings(**variables) == expected
    assert (tmp_path / "keras.json").read_text() == text


def test_an_empty_keras_home_is_as_none(tmp_path):
    writes = (
        "from strategies import inherited as i; i.ignore(); import tensorflow.python.keras.backend"
    )
    environ = {**os.environ, "KERAS_HOME": "", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    (folder := tmp_path / "here").mkdir()
    subprocess.run([sys.executable, "-c", writes], env=environ, cwd=folder, check=True, timeout=120)
    assert [*folder.iterdir()] == []


def test_grpc_is_given_no_proxy_and_downloads_keep_theirs():
    environ = {"http_proxy": "http://me:secret@p:1", "grpc_proxy": "q:2", "no_proxy": "x"}
    inherited.ignore(environ)
    assert environ["grpc_proxy"] == "" and environ["http_proxy"] == "http://me:secret@p:1"
    assert inherited.ignored_proxies() == ["grpc_proxy", "http_proxy"]
    inherited.ignore(environ)  # As a task that `launch` started does.
    assert inherited.ignored_proxies() == []


def test_only_settings_that_would_decide_otherwise_are_reported():
    inherited.ignore(environ := {"KERAS_BACKEND": "tensorflow"})
    assert inherited.ignored_keras() == [] == inherited.ignored_proxies()
    inherited.ignore(environ := {"KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1"})
    assert inherited.ignored_keras() == ["TF_USE_LEGACY_KERAS=1", "KERAS_BACKEND=jax"]
    assert environ == {"KERAS_BACKEND": "tensorflow", "grpc_proxy": ""}
