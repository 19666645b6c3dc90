"""Which examples are in a file? Arrays from .npy, .npz and .csv, or one image.

They become arrays of the type and shape that the model takes. An image is decoded, resized and, for a
model of one channel, made grey.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from strategies.errors import InputError, os_reason
from trainer.config.fields import short_json

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")


class FileError(InputError):
    """A file cannot be read, or has other examples than the model takes."""


def examples(name: str, inputs: Mapping[str, tuple[str, list[int]]]) -> Any:
    """Features [n, ...], or features by name where the model has several inputs.

    Raises FileError.
    """
    path = pathlib.Path(name)
    try:
        found = _read(path, inputs)
    except OSError as error:
        raise _error(name, f"be a file that can be read ({os_reason(error)})") from None
    except (ValueError, EOFError) as error:
        raise _error(name, f"hold numbers ({error})") from None
    if "" in inputs:
        return _fitted(name, found, *inputs[""])
    if not isinstance(found, Mapping) or not inputs.keys() <= found.keys():
        raise _error(name, f"be an .npz file with {', '.join(inputs)}")
    return {key: _fitted(name, found[key], *wanted) for key, wanted in inputs.items()}


def _read(path: pathlib.Path, inputs: Mapping[str, tuple[str, list[int]]]) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    if suffix == ".csv":
        return np.loadtxt(path, delimiter=",", ndmin=2, comments="#")
    if suffix in _IMAGES and "" in inputs:
        return _image(path, inputs[""][1])
    raise ValueError(f"not {suffix or 'a file without an ending'}")


def _image(path: pathlib.Path, shape: list[int]) -> np.ndarray:
    """[1, *shape]: one image of 0 to 255 in the height, width and channels of the model."""
    import tensorflow as tf

    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in (1, 3):
        raise ValueError(f"an image does not fit the shape {shape}")
    try:
        image = tf.io.decode_image(path.read_bytes(), channels, expand_animations=False)
    except tf.errors.InvalidArgumentError:
        raise ValueError("it is not an image") from None
    image = np.rint(tf.image.resize(image, shape[:2]).numpy())
    return image.reshape(1, *shape)


def _fitted(name: str, found: Any, dtype: str, shape: list[int]) -> np.ndarray:
    """The examples in the type and shape that the model takes; rows of numbers are reshaped."""
    if isinstance(found, Mapping):
        found = next(iter(found.values()))
    count = int(np.prod(shape))
    if [*found.shape] == shape:
        found = found[np.newaxis]
    if [*found.shape[1:]] != shape and (found.ndim != 2 or found.shape[1] != count):
        raise _error(name, f"hold examples of shape {shape}", f"{[*found.shape]}")
    if found.dtype.kind not in "biuf":
        raise _error(name, "hold numbers", str(found.dtype))
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        if found.size and not bounds.min <= found.min() <= found.max() <= bounds.max:
            raise _error(name, f"hold numbers of {bounds.min} to {bounds.max}", f"{found.max():g}")
    return found.reshape(-1, *shape).astype(dtype)


def _error(name: str, rule: str, received: str = "") -> FileError:
    also = f", {received}" if received else ""
    return FileError(
        f"a file for `predict` must {rule}. Received: {short_json(name)}{also}; give .npy, .npz or "
        ".csv files, or images, with raw features."
    )
