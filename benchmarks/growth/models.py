"""How do speed and memory change with the size of a model?

Nets with two hidden layers of one width, in one process, batch 64. A step takes six operations for each
weight and example: two in the forward pass and four in the backward pass.
"""

import math
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

from benchmarks import prepare
from benchmarks.growth.part import Part
from benchmarks.growth.trained import RunFailed, train

_BATCH, _EPOCHS, _DEADLINE_S = 64, 3, 240.0
_MOST_STEPS, _FEWEST_STEPS = 232, 4  # Of an epoch.
_STEPS_TIMES_WEIGHTS = 6e8  # An epoch of a net of 100 million weights has 6 steps.


def width(weights: float) -> int:
    """The units of two hidden layers between 784 inputs and 10 outputs with about so much `weights`."""
    linear = 784 + 10 + 2  # w * w + linear * w + 10 = weights.
    return max(1, round((math.sqrt(linear**2 + 4 * (weights - 10)) - linear) / 2))


def num_weights(units: int) -> int:
    return 784 * units + units + units * units + units + 10 * units + 10


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        prepare.write_source(pathlib.Path(folder), prepare.prototypes())
        for millions in sizes:
            units = width(millions * 1e6)
            weights = num_weights(units)
            steps = min(_MOST_STEPS, max(_FEWEST_STEPS, round(_STEPS_TIMES_WEIGHTS / weights)))
            config = {
                "data.source": f"npz:{folder}/examples.npz",
                "data.train_examples": steps * _BATCH,
                "data.global_batch_size": _BATCH,
                "model.hidden_units": f"{units},{units}",
                "train.epochs": _EPOCHS,
            }
            try:
                found = train(config, ["train"], _DEADLINE_S)
            except RunFailed as error:
                yield PART.failed(f"{millions:g}", str(error))
                continue
            yield [
                f"{millions:g}", f"{weights:,}", f"{found.examples_per_s:,.1f}",
                f"{6 * weights * found.examples_per_s / 1e9:,.1f}", f"{found.peak_mib:,.0f}",
                f"{found.peak_mib * 2**20 / weights:,.0f}", f"{found.seconds:,.0f}",
            ]  # fmt: skip


PART = Part(
    "dense nets, one process, batch 64",
    (
        "million weights",
        "weights",
        "examples/s",
        "GFLOP/s",
        "peak MiB",
        "bytes a weight",
        "seconds",
    ),
    (0.1, 1, 10, 100),
    _rows,
)
