"""In which formats can a trained model be taken away, and how is each written and read back?

`FORMATS` has one entry for each. Keras's own `save`, `export` and `quantize` write them, and TensorFlow's
converter writes .tflite. Each is read back as a function from raw features to outputs.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from strategies import packages
from strategies.errors import InputError

# From features [b, ...], or features by name, to outputs in the model's own structure.
Predict = Callable[[Any], Any]


class ExportError(InputError):
    """A model cannot be written in a format, or an export cannot be read."""


@dataclasses.dataclass(frozen=True)
class Format:
    """How one format is written and read.

    `needs` are packages beside TensorFlow and Keras. `load` is None where the file alone is no model.
    """

    file_name: str
    write: Callable[[Any, pathlib.Path, str], None]
    load: Callable[[pathlib.Path], Predict] | None
    quantizes: tuple[str, ...] = ("int8",)
    needs: tuple[str, ...] = ()

    def name_with(self, quantize: str) -> str:
        """The name of the file in the folder of exports."""
        head, dot, tail = self.file_name.partition(".")
        return f"{head}{'.' * bool(quantize)}{quantize}{dot}{tail}"


def _keras_write(model: Any, path: pathlib.Path, quantize: str) -> None:
    _quantized(model, quantize).save(path)


def _keras_load(path: pathlib.Path) -> Predict:
    import keras

    return called(keras.saving.load_model(path, compile=False))


def _weights_write(model: Any, path: pathlib.Path, quantize: str) -> None:
    _quantized(model, quantize).save_weights(path)


def _savedmodel_write(model: Any, path: pathlib.Path, quantize: str) -> None:
    _quantized(model, quantize).export(path, format="tf_saved_model", verbose=False)


def _savedmodel_load(path: pathlib.Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    # `loaded.serve` alone would not keep the variables.
    return lambda features: loaded.serve(features)  # noqa: PLW0108


def _tflite_write(model: Any, path: pathlib.Path, quantize: str) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())


def _tflite_load(path: pathlib.Path) -> Predict:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner(min(interpreter.get_signature_list()))
    names = list(runner.get_input_details())
    return lambda features: _single(runner(**_named(features, names)))


def _onnx_write(model: Any, path: pathlib.Path, quantize: str) -> None:
    model.export(path, format="onnx", verbose=False)


def _onnx_load(path: pathlib.Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = [one.name for one in session.get_inputs()]
    outputs = [one.name for one in session.get_outputs()]

    def predict(features: Any) -> Any:
        found = session.run(outputs, _named(features, inputs))
        return _single(dict(zip(outputs, found, strict=True)))

    return predict


def _named(features: Any, names: list[str]) -> dict[str, np.ndarray]:
    """Features by the names that a format's file has for its inputs."""
    if not isinstance(features, Mapping):
        return {names[0]: np.asarray(features)}
    return {name: np.asarray(features[name.partition(":")[0]]) for name in names}


def _single(outputs: dict[str, Any]) -> Any:
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _quantized(model: Any, quantize: str) -> Any:
    if quantize:
        model.quantize(quantize)
    return model


FORMATS = {
    "keras": Format("model.keras", _keras_write, _keras_load),
    "weights": Format("model.weights.h5", _weights_write, None),
    "savedmodel": Format("savedmodel", _savedmodel_write, _savedmodel_load),
    "tflite": Format("model.tflite", _tflite_write, _tflite_load, ("int8", "float16")),
    "onnx": Format("model.onnx", _onnx_write, _onnx_load, (), ("tf2onnx", "onnxruntime")),
}


def check(name: str, quantize: str) -> Format:
    """The format of this name. Raises ExportError where it lacks a package, or cannot be quantized so."""
    found = FORMATS[name]
    if missing := [package for package in found.needs if not packages.version(package)]:
        raise ExportError(
            f"`--format={name}` needs {' and '.join(found.needs)}. Received: no {missing[0]}; run "
            f"pip install 'muster[{name}]'."
        )
    if quantize and quantize not in found.quantizes:
        able = [one for one, other in FORMATS.items() if quantize in other.quantizes]
        raise ExportError(
            f"`--quantize={quantize}` must be one that the format has. Received: --format={name}; leave "
            f"it out, or take --format={' or '.join(able)}."
        )
    return found


@contextlib.contextmanager
def reported(what: str, fix: str) -> Iterator[None]:
    """Turns whatever a converter raises into one line. Hides the warnings of its packages."""
    try:
        with warnings.catch_warnings():
            # Of each layer that Keras does not quantize, and of what a later TensorFlow will not bring.
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise ExportError(
            f"{what} failed. Received: {type(error).__name__}: {first}; {fix}."
        ) from error


def called(model: Any) -> Predict:
    """A Keras model as a compiled function, as a server would call it."""
    import tensorflow as tf

    return tf.function(lambda features: model(features, training=False), reduce_retracing=True)


def about(path: pathlib.Path) -> pathlib.Path:
    """The file beside an export that says what goes in and comes out."""
    return path.with_name(f"{path.name}.json")


def remove(path: pathlib.Path) -> None:
    """Deletes an earlier export."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
