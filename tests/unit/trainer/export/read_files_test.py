"""Do files become the examples that a model takes, and is anything else refused in one line?"""

import numpy as np
import pytest
import tensorflow as tf

from trainer.export.read_files import FileError, examples

ONE = {"": ("uint8", [2, 3])}
TWO = {"left": ("float32", [2]), "right": ("float32", [1])}
PIXELS = np.array([[0, 50, 255], [1, 2, 3]], np.uint8)


def _file(path, content) -> str:
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    else:
        path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("one.npy", PIXELS),
        ("batch.npy", PIXELS[np.newaxis]),
        ("flat.npy", PIXELS.reshape(1, 6).astype(np.float64)),
        ("rows.csv", b"# a comment\n0,50,255,1,2,3\n"),
        ("image.png", tf.io.encode_png(PIXELS[:, :, np.newaxis]).numpy()),
    ],
)
def test_the_same_example_in_any_kind_of_file(name, content, tmp_path):
    found = examples(_file(tmp_path / name, content), ONE)
    assert found.dtype == np.uint8
    assert np.array_equal(found, PIXELS[np.newaxis])


def test_an_image_gets_the_size_and_the_channels_of_the_model(tmp_path):
    colours = np.full((8, 6, 3), (30, 60, 90), np.uint8)
    path = _file(tmp_path / "image.png", tf.io.encode_png(colours).numpy())
    assert np.array_equal(examples(path, {"": ("uint8", [4, 3, 3])})[0, 0, 0], [30, 60, 90])
    assert examples(path, ONE).shape == (1, 2, 3)


def test_several_inputs_come_from_arrays_by_name(tmp_path):
    path = _file(tmp_path / "both.npz", {"left": np.ones((5, 2)), "right": np.ones((5, 1))})
    found = examples(path, TWO)
    assert {name: (one.dtype.name, one.shape) for name, one in found.items()} == {
        "left": ("float32", (5, 2)),
        "right": ("float32", (5, 1)),
    }


@pytest.mark.parametrize(
    "name, content, inputs, message",
    [
        ("a.npy", np.ones((4, 7)), ONE, r"hold examples of shape \[2, 3\]. Received: .*, \[4, 7\]"),
        ("a.npy", np.full((1, 6), 256), ONE, r"numbers of 0 to 255. Received: .*, 256"),
        ("a.npy", np.array([["a"] * 6]), ONE, "hold numbers"),
        ("a.csv", b"x,y\n", ONE, "hold numbers"),
        ("a.png", b"no image", ONE, "it is not an image"),
        ("a.txt", b"", ONE, "not .txt"),
        ("a.npz", {"left": np.ones((5, 2))}, TWO, "an .npz file with left, right"),
    ],
)
def test_what_the_model_does_not_take_is_one_line(name, content, inputs, message, tmp_path):
    with pytest.raises(FileError, match=message):
        examples(_file(tmp_path / name, content), inputs)


def test_a_file_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(FileError, match="be a file that can be read"):
        examples(str(tmp_path / "none.npy"), ONE)
