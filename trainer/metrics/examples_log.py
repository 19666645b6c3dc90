"""Which examples did each replica consume?

`ExamplesLog` writes them, step by step, to one file per replica.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from strategies.runtime import Runtime
from trainer.metrics import jsonl
from trainer.order.sample_order import PADDING
from trainer.order.schedule import Loop
from trainer.storage.atomic_files import flush_file, storing


class ExamplesLog:
    """`examples-REPLICA.jsonl`: the indices of the examples of each step. `folder` None: no file."""

    def __init__(self, folder: pathlib.Path | None, runtime: Runtime, rows_per_step: int = 1):
        self._files: dict[int, IO[str]] = {}
        self._rows_per_step = rows_per_step
        if not folder:
            return
        folder.mkdir(parents=True, exist_ok=True)  # Only the leader's machine has it already.
        for position, replica in enumerate(runtime.local_replicas):
            path = folder / f"examples-{replica}.jsonl"
            with storing("the examples", path):
                self._files[position] = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, loop: Loop, inputs: tuple) -> None:
        """Logs a loop; `inputs` has one per replica of this process, its indices [k, b] first."""
        for position, file in self._files.items():
            with storing("the examples", file.name):
                for step, examples in self._consumed(loop, inputs[position][0].numpy()):
                    file.write(json.dumps({"step": step, "examples": examples}) + "\n")
                file.flush()

    def flush(self) -> None:
        """Returns once the lines are on the disk. Raises WorkdirError."""
        for file in self._files.values():
            with storing("the examples", file.name):
                flush_file(file.fileno())

    def truncate_from_step(self, step: int) -> None:
        """Removes the lines of `step` and later ones: those steps are about to be repeated."""
        for file in self._files.values():
            with storing("the examples", file.name):
                jsonl.truncate_after_step(pathlib.Path(file.name), step - 1)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _consumed(self, loop: Loop, rows: np.ndarray) -> Iterator[tuple[int, list[int]]]:
        for offset in range(loop.num_steps):
            first = offset * self._rows_per_step
            batch = rows[first : first + self._rows_per_step]
            yield loop.first_step + offset, batch[batch != PADDING].tolist()
