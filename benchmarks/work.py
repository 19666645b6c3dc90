"""What is the work that every peer of a benchmark does?

One net, 784-128-10, is trained with Adam at 0.001, from the same first weights, over the same batches in
the same order, for whole epochs. So all peers must end at the same loss, up to rounding, and only the
time may differ. `benchmarks.prepare` wrote the work to a file, which this module reads with NumPy alone:
a peer may run in an environment without TensorFlow.
"""

import dataclasses
import functools
import json
import resource
import statistics
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7  # Keras's defaults.


@dataclasses.dataclass(frozen=True)
class Work:
    """`epochs` passes in steps of `global_batch_size`; the first pass is not timed.

    A peer that is done before `min_seconds` of timed passes repeats those after the first.
    `file` holds images uint8 [n, 784], labels int32 [n], order int32 [epochs or more, examples an
    epoch], which is the same at any batch size that divides an epoch, and the four first weights.
    """

    file: str
    global_batch_size: int
    epochs: int
    min_seconds: float = 0.0

    @classmethod
    def from_args(cls) -> "Work":
        """The work that `benchmarks.run` passed on a peer's command line."""
        return cls(**json.loads(sys.argv[1]))

    def to_arg(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @property
    def num_examples(self) -> int:
        """Examples in an epoch."""
        return self._arrays["order"].shape[1]

    @property
    def warm_up(self) -> int:
        """Steps that are not timed: the first epoch."""
        return self.num_examples // self.global_batch_size

    @property
    def steps(self) -> int:
        """All steps, warm-up included."""
        return self.epochs * self.warm_up

    @property
    def rows(self) -> np.ndarray:
        """int32 [steps, global_batch_size]: the examples of each step."""
        return self._arrays["order"][: self.epochs].reshape(-1, self.global_batch_size)

    def first_weights(self) -> list[np.ndarray]:
        """Kernel [784, 128], bias [128], kernel [128, 10] and bias [10]."""
        return [self._arrays[f"weight_{place}"] for place in range(4)]

    def pixels(self, rank: int = 0, num_ranks: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [steps * b, 784] and int32 [steps * b]: one rank's slice b of every batch in turn."""
        width = self.global_batch_size // num_ranks
        rows = self.rows[:, rank * width : (rank + 1) * width].ravel()
        return self._arrays["images"][rows], self._arrays["labels"][rows]

    def in_order(self, rank: int = 0, num_ranks: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """`pixels` as float32 in [0, 1].

        Peers get their input gathered, converted and scaled, so this is not part of their time.
        """
        pixels, labels = self.pixels(rank, num_ranks)
        images = pixels.astype(np.float32)
        images /= 255
        return images, labels

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.file) as archive:
            return dict(archive)


def options(**defaults: Any) -> Any:
    """The options of a peer by name: these, changed by the words `name=value` on its command line.

    A value is JSON, or text. Raises SystemExit for a name that is not an option.
    """
    for word in sys.argv[2:]:
        name, _, text = word.partition("=")
        if name not in defaults:
            sys.exit(f"{name!r} is not one of the options {', '.join(defaults)}")
        try:
            defaults[name] = json.loads(text)
        except ValueError:
            defaults[name] = text
    return types.SimpleNamespace(**defaults)


def report(work: Work, train: Callable[[int, int], float]) -> None:
    """Times `train(first_step, end_step)`, which returns the mean loss of those steps, epoch by epoch.

    The loss is that of the work's own epochs. Passes that only fill `min_seconds` repeat them.
    """
    first_loss = train(0, work.warm_up)
    losses: list[float] = []
    seconds: list[float] = []
    while len(seconds) < work.epochs - 1 or sum(seconds) < work.min_seconds:
        first_step = work.warm_up * (1 + len(seconds) % (work.epochs - 1))
        began = time.perf_counter()
        losses.append(train(first_step, first_step + work.warm_up))
        seconds.append(time.perf_counter() - began)
    say(
        **speed([work.num_examples / one for one in seconds]),
        first_loss=first_loss,
        loss=statistics.mean(losses[: work.epochs - 1]),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def speed(slices: Sequence[float]) -> dict[str, object]:
    """A peer's result for its speed: examples a second in each timed epoch, and their median."""
    return {"examples_per_s": statistics.median(slices), "slices": [*slices]}


def say(**found: object) -> None:
    """Prints a peer's results, as the line that `benchmarks.processes` reads."""
    print(json.dumps(found), flush=True)
