"""tf.data at its best on these files, as its users know it.

What fits in memory is read once, by NumPy or pyarrow, which are faster than tf.data's own readers of CSV;
and its shuffled indices are batched and the rows gathered by parallel calls. TFRecords and pictures are
parsed by parallel calls, records in whole batches, cached in memory, shuffled over all of them and
batched by parallel calls. Batches are prefetched.
"""

import json
import pathlib

import numpy as np
import tensorflow as tf

from benchmarks.reading import Reading, report

_CACHED = ("tfrecord", "images")


def main() -> None:
    reading = Reading.from_args()
    dataset = _cached(reading) if reading.kind in _CACHED else _indexed(reading)

    @tf.function
    def total_of(features):
        return tf.reduce_sum(tf.cast(features, tf.float32))

    def epoch() -> float:
        return float(sum(float(total_of(features)) for features, _ in dataset))

    report(reading, epoch)


def arrays(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of files that are read whole."""
    path = pathlib.Path(reading.path)
    if reading.kind == "npz":
        with np.load(path) as found:
            return found["x_train"], found["y_train"]
    if reading.kind == "npy":
        return np.load(path / "x_train.npy"), np.load(path / "y_train.npy")
    if reading.kind == "jsonl":
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        return np.array([row["x"] for row in rows], np.float32), np.array(
            [row["y"] for row in rows]
        )
    import pyarrow.csv
    import pyarrow.parquet

    if reading.kind == "csv":
        table = pyarrow.csv.read_csv(path)
        names = [name for name in table.column_names if name != "y"]
        features = np.stack([table[name].to_numpy() for name in names], axis=1)
        return features.astype(np.float32), table["y"].to_numpy()
    table = pyarrow.parquet.read_table(path)
    flat = table["x"].combine_chunks().flatten().to_numpy()
    return flat.reshape(len(table), -1), table["y"].to_numpy()


def _indexed(reading: Reading) -> tf.data.Dataset:
    features, classes = map(tf.constant, arrays(reading))
    indices = tf.data.Dataset.range(reading.rows).shuffle(reading.rows).batch(reading.batch)
    return indices.map(
        lambda rows: (tf.gather(features, rows), tf.gather(classes, rows)),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)


def _cached(reading: Reading) -> tf.data.Dataset:
    examples = _records(reading) if reading.kind == "tfrecord" else _pictures(reading)
    shuffled = examples.cache().shuffle(reading.rows)
    return shuffled.batch(reading.batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )


def _records(reading: Reading) -> tf.data.Dataset:
    record = next(iter(tf.data.TFRecordDataset(reading.path)))
    first = tf.train.Example.FromString(record.numpy())
    width = len(first.features.feature["x"].float_list.value)
    schema = {
        "x": tf.io.FixedLenFeature([width], tf.float32),
        "y": tf.io.FixedLenFeature([], tf.int64),
    }

    def parsed(records):
        found = tf.io.parse_example(records, schema)
        return found["x"], found["y"]

    batches = tf.data.TFRecordDataset(reading.path).batch(1024)
    return batches.map(parsed, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


def _pictures(reading: Reading) -> tf.data.Dataset:
    paths = sorted(pathlib.Path(reading.path).glob("*/*.png"))
    classes = sorted({path.parent.name for path in paths})
    labels = [classes.index(path.parent.name) for path in paths]
    listed = tf.data.Dataset.from_tensor_slices(([*map(str, paths)], labels))
    return listed.map(
        lambda path, label: (tf.io.decode_png(tf.io.read_file(path)), label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


if __name__ == "__main__":
    main()
