"""From how many hidden units on is it faster to hold a part of the model than to share the batch?

784-H-10 with batch 64, Adam: one process, without model blocks and with 4; two workers that share each
batch; and two that each hold half of the hidden units. Every round runs all four in turn, and a figure
is the median of the rounds. Two workers that share a batch need two blocks of it; the others have one.
"""

import pathlib
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks import prepare
from benchmarks.growth.part import Part
from benchmarks.growth.trained import RunFailed, Trained, train

_BATCH, _EPOCHS, _ROUNDS, _DEADLINE_S = 64, 4, 2, 120.0
_MOST_STEPS, _FEWEST_STEPS = 96, 8  # Of an epoch.
_STEPS_TIMES_UNITS = 75_000
_TWO = ("launch", "--workers=2", "--")
_WHOLE, _BLOCKS = {"train.reduction_blocks": 1}, {"train.reduction_blocks": 1, "model.blocks": 4}
_WAYS: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]] = {
    "one process": (("train",), _WHOLE),
    "with 4 model blocks": (("train",), _BLOCKS),
    "two workers, data": (_TWO, {"train.reduction_blocks": 2}),
    "two workers, model:2": ((*_TWO, "--mesh=model:2"), _BLOCKS),
}


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        prepare.write_source(pathlib.Path(folder), prepare.prototypes())
        for units in map(int, sizes):
            steps = min(_MOST_STEPS, max(_FEWEST_STEPS, _STEPS_TIMES_UNITS // units))
            config = {
                "data.source": f"npz:{folder}/examples.npz",
                "data.train_examples": steps * _BATCH,
                "data.global_batch_size": _BATCH,
                "model.hidden_units": units,
                "train.epochs": _EPOCHS,
            }
            try:
                found = _rounds(config)
            except RunFailed as error:
                yield PART.failed(f"{units:,}", str(error))
                continue
            speeds = [statistics.median(one.examples_per_s for one in runs) for runs in found]
            *_, (data, *_), (mesh, *_) = found
            sent = [f"{one.sent_bytes:,.0f}" for one in (data, mesh)]
            yield [f"{units:,}", *(f"{speed:,.0f}" for speed in speeds), *sent]


def _rounds(config: Mapping[str, Any]) -> list[list[Trained]]:
    """The runs of each way, which take turns."""
    rounds = [
        [train({**config, **own}, launch, _DEADLINE_S) for launch, own in _WAYS.values()]
        for _ in range(_ROUNDS)
    ]
    return [list(runs) for runs in zip(*rounds, strict=True)]


PART = Part(
    "784-H-10, batch 64, Adam; examples/s, and bytes that a worker sends in a step",
    ("hidden units", *_WAYS, "bytes, data", "bytes, model:2"),
    (128, 512, 2048, 8192),
    _rows,
)
