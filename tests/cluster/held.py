"""How is a run kept from ending before a test stops or kills it? It is held before an epoch or a step.

A test that acts when it sees a line of a run would otherwise have to be faster than the rest of the run.
Within `before`, `python -m trainer` and the tasks and trials that it starts run as this module does.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

NAME = "tests.cluster.held"
VARIABLE = "MUSTER_TEST_HOLD"
_POLL_EVERY_S = 0.01  # No event announces that a file is gone.
_SUPERVISORS = ("launch", "tune", "cross_validate", "compare")


class Hold:
    """What holds the runs, until `release`."""

    def __init__(self, file: pathlib.Path):
        self._file = file
        file.touch()

    def release(self) -> None:
        self._file.unlink(missing_ok=True)


@contextlib.contextmanager
def before(epoch: float = math.inf, step: float = math.inf, only: str = "") -> Iterator[Hold]:
    """Runs that are started in this block do not begin this epoch, or take this step, nor a later one.

    A task continues once it is asked to stop, and all do after the block.

    Args:
      epoch: how many of them they complete, at most.
      step: how many of these.
      only: holds only processes with this text in one of their arguments.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "held"
        wanted = {"epoch": epoch, "step": step, "file": str(file), "only": only}
        os.environ[VARIABLE] = json.dumps(wanted)
        try:
            yield Hold(file)
        finally:
            del os.environ[VARIABLE]


def _hold_what_this_process_starts() -> None:
    from trainer.process.start.starter import Starter

    start = Starter.start

    def start_held(self, program, *args, **options):
        if program.module == "trainer":
            program = dataclasses.replace(program, module=NAME)
        return start(self, program, *args, **options)

    Starter.start = start_held  # type: ignore[method-assign]


def _hold_this_process(last_epoch: float, last_step: float, file: pathlib.Path) -> None:
    from trainer.training.loop import _Run

    run_steps = _Run._run_steps

    def run_steps_held(self, loop, inputs):
        last = min(last_step, last_epoch * self._order.steps_per_epoch)
        while loop.first_step >= last and file.exists() and not self._stop.requested:
            time.sleep(_POLL_EVERY_S)
        return run_steps(self, loop, inputs)

    _Run._run_steps = run_steps_held  # type: ignore[method-assign]


def main() -> None:
    wanted = json.loads(os.environ[VARIABLE])
    if any(verb in sys.argv[1:2] for verb in _SUPERVISORS):
        _hold_what_this_process_starts()
    elif any(wanted["only"] in arg for arg in sys.argv):
        _hold_this_process(wanted["epoch"], wanted["step"], pathlib.Path(wanted["file"]))
    from trainer.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
