"""Which examples did each replica consume?"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np

from strategies.runtime import Runtime
from trainer.metrics import jsonl
from trainer.order.sample_order import PADDING
from trainer.order.schedule import Loop


class ExamplesLog:
    """`examples-REPLICA.jsonl`: which examples each step of each replica consumed."""

    def __init__(self, folder: pathlib.Path | None, runtime: Runtime):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)  # On a follower's machine nobody made it.
        self._files = {
            place: open(folder / f"examples-{replica}.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            for place, replica in enumerate(runtime.local_replicas if folder else ())
        }

    def write(self, loop: Loop, elements: tuple) -> None:
        for place, file in self._files.items():
            for step, examples in _consumed(loop, elements[place][0].numpy()):
                file.write(json.dumps({"step": step, "examples": examples}) + "\n")
            file.flush()

    def go_back(self, step: int) -> None:
        """Forgets what was consumed from `step` on: it is about to be consumed again."""
        for file in self._files.values():
            jsonl.truncate_after_step(pathlib.Path(file.name), step - 1)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _consumed(loop: Loop, rows: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    for offset, row in enumerate(rows[: loop.num_steps]):
        yield loop.first_step + offset, row[row != PADDING].tolist()
