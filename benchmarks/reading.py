"""What does every peer of the table of sources read, and how is it timed?

All examples of some files, in a new random order in each epoch, in batches: uint8 or float32 features
that are whole numbers, and a class. Each batch's features are summed as float32, which is exact, so all
peers must find the same sum.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable

from benchmarks.work import say, speed


@dataclasses.dataclass(frozen=True)
class Reading:
    """`kind` of file, as in `data.source`; `path` of the file, or of the folder of `images` and `npy`."""

    kind: str
    path: str
    rows: int
    batch: int
    min_seconds: float

    @classmethod
    def from_args(cls) -> "Reading":
        return cls(**json.loads(sys.argv[1]))

    def to_arg(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def report(reading: Reading, epoch: Callable[[], float]) -> None:
    """Times `epoch()`, which reads all examples once and returns the sum; the first one is not timed."""
    total = epoch()
    slices: list[float] = []
    spent = 0.0
    while spent < reading.min_seconds or not slices:
        began = time.perf_counter()
        again = epoch()
        spent += (took := time.perf_counter() - began)
        slices.append(reading.rows / took)
        assert again == total, f"an epoch's sum was {again}, and {total} before"
    say(**speed(slices), total=total)
