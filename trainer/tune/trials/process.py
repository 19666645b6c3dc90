"""How does a trial's process start quickly, and how is it stopped?

`TrialProcess` is forked from a fork server that has imported TensorFlow, as the import takes longer than
many trials, but has not used it. Each trial is still a separate process: what it allocates, breaks or
leaks ends with it.
"""

import contextlib
import functools
import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from multiprocessing import connection, forkserver

from trainer.process import health, parent_death
from trainer.process.child import StoppableChild
from trainer.process.exit_record import ExitRecord, RecordFile
from trainer.tune.machines import role
from trainer.tune.trials.slots import Slot

_PRELOAD = "trainer.tune.trials.preload"
# The environment variables of the sweep's cluster and health file, which are not the trial's.
_NOT_INHERITED = (role.NAME, role.HOST, role.PORT, health.VARIABLE)
_context = multiprocessing.get_context("forkserver")


def start_fork_server() -> None:
    """Starts the fork server, which imports TensorFlow while the caller continues."""
    _context.set_forkserver_preload([_PRELOAD])
    with _signal_mask_kept():
        forkserver.ensure_running()


class TrialProcess(StoppableChild):
    """One start of a trial. `returncode` is as in subprocess.Popen; `seconds` is its running time."""

    def __init__(self, argv: Sequence[str], slot: Slot, log: pathlib.Path):
        self._started_at = time.monotonic()
        self.seconds = 0.0
        self._record_file = RecordFile()
        record_request = self._record_file.name_in({})
        self._process = _context.Process(
            target=_run, args=(list(argv), slot, str(log), record_request)
        )
        with _signal_mask_kept():
            self._process.start()
        super().__init__(self._process)
        self.sentinel = self._process.sentinel

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative if a signal killed it."""
        code = self._process.exitcode
        if code is None:
            self.seconds = time.monotonic() - self._started_at
        return code

    @functools.cached_property
    def record(self) -> ExitRecord | None:
        """What the run recorded of its end. Only for a run that has ended."""
        pid, code = self._process.pid, self._process.exitcode
        assert pid is not None and code is not None
        return self._record_file.take(pid, code)


def wait_for_exit(processes: Sequence[TrialProcess], timeout_s: float) -> None:
    """Returns when one of the processes exits, or after `timeout_s`."""
    connection.wait([process.sentinel for process in processes], timeout_s)


@contextlib.contextmanager
def _signal_mask_kept() -> Iterator[None]:
    """Restores the signal mask, as multiprocessing unblocks signals that a thread waits for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(argv: list[str], slot: Slot, log: str, record_request: Mapping[str, str]) -> None:
    """Runs the trial, in its own process. Does not return."""
    os.setsid()  # It and the processes that it starts form a group, which `kill` kills.
    parent_death.end_with(os.getppid(), signal.SIGTERM)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    _enter_slot(slot, os.environ)
    os.environ.update(record_request)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.argv = ["trainer", *argv]
    runpy.run_module("trainer", run_name="__main__")


def _enter_slot(slot: Slot, environ: MutableMapping[str, str]) -> None:
    """Limits the process to its slot, and removes the sweep's settings from its environment."""
    os.sched_setaffinity(0, slot.cores)
    for name in _NOT_INHERITED:
        environ.pop(name, None)
    # No cluster. It also overrides Slurm's, if the sweep is a task of a Slurm step.
    environ["TF_CONFIG"] = "{}"
    environ["PYTHONUNBUFFERED"] = "1"
    if slot.gpus is not None:
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # When memory runs out, a trial is killed and not the sweep.
