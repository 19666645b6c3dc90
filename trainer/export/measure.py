"""How good, how large and how fast is a model that was taken away?

`measured` computes its metrics on the test set as training does, its size on the disk, and the time of a
call.
"""

import pathlib
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.dataset import Split
from trainer.export.formats import Predict
from trainer.model.step import TrainingProgram

_BATCH = 250  # Examples; as in `trainer.training.evaluation`.
_CALLS = 20
LATENCY_BATCH = 64


def metrics(predict: Predict, program: TrainingProgram, test: Split) -> dict[str, float]:
    """The mean loss, without penalties on weights, and the metrics over the test set."""
    total = np.zeros(program.num_sums)
    for first in range(0, len(test), _BATCH):
        features, targets = _slice(test, first, first + _BATCH)
        outputs = tf.nest.map_structure(tf.convert_to_tensor, predict(features))
        weights = tf.ones(min(_BATCH, len(test) - first))
        total += program.objective.sums(targets, outputs, (), weights).numpy()
    return program.means(total)


def latency_ms(predict: Predict, test: Split, batch: int) -> float:
    """The median milliseconds of a call with `batch` examples, after the first call."""
    features, _ = _slice(test, 0, batch)
    predict(features)
    seconds = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        tf.nest.map_structure(np.asarray, predict(features))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def size_bytes(path: pathlib.Path) -> int:
    """Of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def measured(predict: Predict, program: TrainingProgram, test: Split) -> dict[str, Any]:
    """The metrics and latencies, by name."""
    return {
        **metrics(predict, program, test),
        "ms_for_1": latency_ms(predict, test, 1),
        f"ms_for_{LATENCY_BATCH}": latency_ms(predict, test, LATENCY_BATCH),
    }


def _slice(split: Split, first: int, last: int) -> tuple[Any, Any]:
    return split.unpack(tuple(tf.convert_to_tensor(array[first:last]) for array in split.arrays))
