"""How do tests write the same examples in every format that a source may have?"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

FEATURES = 5
TRAIN, TEST = 250, 50


def examples(seed: int = 1) -> dict[str, np.ndarray]:
    """float32 x_train [250, 5] and x_test [50, 5] with int64 labels of three classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, TRAIN + TEST)
    x = (rng.normal(size=(len(y), FEATURES)) + y[:, np.newaxis]).astype(np.float32)
    return {"x_train": x[:TRAIN], "y_train": y[:TRAIN], "x_test": x[TRAIN:], "y_test": y[TRAIN:]}


def npz(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    np.savez(folder / "d.npz", **arrays)  # type: ignore[arg-type]  # None is called allow_pickle.
    return f"npz:{folder / 'd.npz'}"


def npy(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    (folder / "npy").mkdir()
    for name, array in arrays.items():
        np.save(folder / "npy" / f"{name}.npy", array)
    return f"npy:{folder / 'npy'}"


def csv(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    def write(path: Path, x: np.ndarray, y: np.ndarray) -> None:
        lines = [",".join([*(f"f{i}" for i in range(x.shape[1])), "y"])]
        lines += [
            ",".join([*map(repr, map(float, row)), str(label)])
            for row, label in zip(x, y, strict=True)
        ]
        path.write_text("\n".join(lines) + "\n")

    return _two(folder, "csv", arrays, write)


def jsonl(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    def write(path: Path, x: np.ndarray, y: np.ndarray) -> None:
        rows = zip(x.tolist(), y.tolist(), strict=True)
        path.write_text("".join(json.dumps({"x": row, "y": label}) + "\n" for row, label in rows))

    return _two(folder, "jsonl", arrays, write)


def parquet(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(path: Path, x: np.ndarray, y: np.ndarray) -> None:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
        pq.write_table(
            pa.table({"x": rows, "y": y}), path, row_group_size=64, write_page_checksum=True
        )

    return _two(folder, "parquet", arrays, write)


def tfrecord(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    import tensorflow as tf

    def write(path: Path, x: np.ndarray, y: np.ndarray) -> None:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in _records(x, y):
                writer.write(record)

    return _two(folder, "tfrecord", arrays, write)


def arrayrecord(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    from array_record.python import array_record_module

    def write(path: Path, x: np.ndarray, y: np.ndarray) -> None:
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for record in _records(x, y):
            writer.write(record)
        writer.close()

    return _two(folder, "arrayrecord", arrays, write, ending="array_record")


FORMATS: dict[str, Callable[[Path, dict[str, np.ndarray]], str]] = {
    function.__name__: function
    for function in (npz, npy, csv, jsonl, parquet, tfrecord, arrayrecord)
}


def _two(
    folder: Path,
    kind: str,
    arrays: dict[str, np.ndarray],
    write: Callable[[Path, np.ndarray, np.ndarray], None],
    ending: str = "",
) -> str:
    """Writes a file for each split. Returns the source."""
    paths = [folder / f"{split}.{ending or kind}" for split in ("train", "test")]
    for path, split in zip(paths, ("train", "test"), strict=True):
        write(path, arrays[f"x_{split}"], arrays[f"y_{split}"])
    return f"{kind}:{','.join(map(str, paths))}"


def _records(x: np.ndarray, y: np.ndarray) -> list[bytes]:
    """Each example as a tf.train.Example, by TensorFlow's own class."""
    from tensorflow.core.example import example_pb2

    found = []
    for row, label in zip(x, y, strict=True):
        example = example_pb2.Example()
        example.features.feature["x"].float_list.value.extend(row.tolist())
        example.features.feature["y"].int64_list.value.append(int(label))
        found.append(example.SerializeToString())
    return found
