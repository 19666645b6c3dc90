"""How does a trial start at once, and how is it ended?

TensorFlow's import takes longer than many a trial. So trials are forked from one process, a fork server,
that has imported it and has done nothing with it. Each is a process of its own all the same: what it
allocates, breaks or leaks ends with it.
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
from trainer.tune.trials import compile_cache
from trainer.tune.trials.slots import Slot

_WARM = "trainer.tune.trials.preload"
# The sweep's own cluster is not the trial's, nor is its health.
_NOT_INHERITED = (role.NAME, role.HOST, role.PORT, health.VARIABLE)
_context = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Starts the fork server, which then imports TensorFlow while the caller goes on."""
    _context.set_forkserver_preload([_WARM])
    with _signals_kept():
        forkserver.ensure_running()


class TrialProcess(StoppableChild):
    """One start of a trial; `code` is None while it runs, then as that of subprocess.Popen."""

    def __init__(self, argv: Sequence[str], slot: Slot, log: pathlib.Path):
        self._began = time.monotonic()
        self.seconds = 0.0
        self._record_file = RecordFile()
        record_request = self._record_file.name_in({})
        self._process = _context.Process(
            target=_run, args=(list(argv), slot, str(log), record_request)
        )
        with _signals_kept():
            self._process.start()
        super().__init__(self._process)
        self.sentinel = self._process.sentinel

    @property
    def code(self) -> int | None:
        code = self._process.exitcode
        if code is None:
            self.seconds = time.monotonic() - self._began
        return code

    @functools.cached_property
    def record(self) -> ExitRecord | None:
        """What the run recorded of its end, once it has ended."""
        return self._record_file.take(self._process.pid, self._process.exitcode)


def wait_for_end(processes: Sequence[TrialProcess], timeout_s: float) -> None:
    """Until one of them ends, or the time is over."""
    connection.wait([process.sentinel for process in processes], timeout_s)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """multiprocessing lets signals through that are held back for who waits for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(argv: list[str], slot: Slot, log: str, record_request: Mapping[str, str]) -> None:
    """The trial's own process: it does not return."""
    os.setsid()  # With what it starts it is one group.
    parent_death.end_with(os.getppid(), signal.SIGTERM)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    _settle(slot, os.environ)
    os.environ.update(record_request)
    if argv[0] == "launch":
        compile_cache.unshare(os.environ)  # Its tasks share the slot's cores.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.argv = ["trainer", *argv]
    runpy.run_module("trainer", run_name="__main__")


def _settle(slot: Slot, environ: MutableMapping[str, str]) -> None:
    """Leaves the process the slot's share of the machine, and nothing that was meant for the sweep."""
    os.sched_setaffinity(0, slot.cores)
    for name in _NOT_INHERITED:
        environ.pop(name, None)
    # No cluster, and none of Slurm's either, in whose step the sweep may be a task.
    environ["TF_CONFIG"] = "{}"
    environ["PYTHONUNBUFFERED"] = "1"
    if slot.gpus is not None:
        environ["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # When memory runs out, a trial is killed and not the sweep.
