"""What is a trial's process? `TrialProcess`: a run of the trainer on a slot's share of the machine.

Each trial is a separate process: what it allocates, breaks or leaks ends with it.
"""

import functools
import os
import pathlib
import time
from collections.abc import Mapping, Sequence

from trainer.process import health
from trainer.process.exit_record import ExitRecord, RecordFile
from trainer.process.start.child import wait_for_any
from trainer.process.start.program import Limits, Program
from trainer.process.start.starter import Starter
from trainer.process.start.stoppable_child import StoppableChild
from trainer.tune.machines import role
from trainer.tune.trials.slots import Slot

# The environment variables of the sweep's cluster and health file, which are not the trial's.
_NOT_INHERITED = (role.NAME, role.HOST, role.PORT, health.VARIABLE)
_OOM_SCORE_ADJ = 500  # When memory runs out, a trial is killed and not the sweep.


class TrialProcess(StoppableChild):
    """One start of a trial, which appends its output to `log`. `seconds` is its running time."""

    def __init__(self, starter: Starter, argv: Sequence[str], slot: Slot, log: pathlib.Path):
        super().__init__()
        self._started_at = time.monotonic()
        self.seconds = 0.0
        self._record_file = RecordFile()
        environ = _environ(slot, os.environ)
        program = Program(
            "trainer",
            argv,
            self._record_file.name_in(environ),
            limits=Limits(slot.cores, _OOM_SCORE_ADJ),
        )
        with open(log, "ab") as output:
            child = starter.start(program, output.fileno())
        assert child  # As nobody gave up.
        self.child = child
        self.set_child(child)

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative if a signal killed it, as in subprocess.Popen."""
        code = self.child.poll()
        if code is None:
            self.seconds = time.monotonic() - self._started_at
        return code

    @functools.cached_property
    def record(self) -> ExitRecord | None:
        """What the run recorded of its end. Only for a run that has ended."""
        assert self.child.returncode is not None
        return self._record_file.take(self.child.pid, self.child.returncode)


def wait_for_exit(processes: Sequence[TrialProcess], timeout_s: float) -> None:
    """Returns when one of the processes exits, or after `timeout_s`."""
    wait_for_any([process.child for process in processes], timeout_s)


def _environ(slot: Slot, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a trial in this slot, without the sweep's settings."""
    own = {
        # No cluster. It also overrides Slurm's, if the sweep is a task of a Slurm step.
        "TF_CONFIG": "{}",
        "PYTHONUNBUFFERED": "1",
    }
    if slot.gpus is not None:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
    return {name: value for name, value in environ.items() if name not in _NOT_INHERITED} | own
