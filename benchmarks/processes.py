"""How does one peer run: as a process, or as a cluster of them?

Each process starts in a session of its own and gets its task from TF_CONFIG and from the variables that
PyTorch reads. The first one leads: its last line has the peer's results. When it ends, the others get a
moment to end too, and are then killed; when one of them fails, or the deadline passes, all are killed.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

from trainer.launch.ports import free_ports

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_GRACE_S = 5.0
_POLL_S = 0.02


class PeerFailed(Exception):
    """A peer did not complete; the message gives the reason in one line."""


@dataclasses.dataclass
class _Task:
    process: subprocess.Popen
    stdout: IO[str]
    stderr: IO[str]


def run(
    command: Sequence[str], jobs: Sequence[str] = (), pinned: bool = False, deadline_s: float = 120
) -> dict[str, float]:
    """The results of the leader of `command`, from its last line.

    Args:
      command: what every task runs.
      jobs: the job of each task of a cluster, the leader's first; empty for a single process.
      pinned: each task is kept on one core of its own.
      deadline_s: seconds for all of it.

    Raises:
      PeerFailed: a task ended with an error, the deadline passed, or the leader printed nothing.
    """
    deadline = time.monotonic() + deadline_s
    with contextlib.ExitStack() as stack:
        tasks = []
        for place, environ in enumerate(_environs(jobs)):
            with on_core(place if pinned else None):
                tasks.append(_start(command, environ, stack))
        _await(tasks, deadline, deadline_s)
        return _results(tasks[0])


def _environs(jobs: Sequence[str]) -> list[dict[str, str]]:
    """What each task's environment has in addition to this process's."""
    if len(jobs) < 2:
        return [{}]
    ports = free_ports(len(jobs))
    cluster: dict[str, list[str]] = {job: [] for job in jobs}
    environs = []
    for rank, (job, port) in enumerate(zip(jobs, ports, strict=True)):
        task = {"type": job, "index": len(cluster[job])}
        cluster[job].append(f"127.0.0.1:{port}")
        environs.append({"task": task, "rank": rank})
    return [
        {
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": one["task"]}),
            "RANK": str(one["rank"]),
            "WORLD_SIZE": str(len(jobs)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(ports[0]),
        }
        for one in environs
    ]


@contextlib.contextmanager
def on_core(place: int | None) -> Iterator[None]:
    """Processes started within this context inherit this core, and use one thread for it."""
    if place is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[place % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _start(command: Sequence[str], more: dict[str, str], stack: contextlib.ExitStack) -> _Task:
    environ = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow", **more}
    # Files, because a pipe that is not read would block its writer.
    stdout, stderr = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in "oe")  # noqa: SIM115
    process = subprocess.Popen(
        command, cwd=_ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
        start_new_session=True,
    )  # fmt: skip
    stack.callback(_end, process)
    return _Task(process, stdout, stderr)


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # With whatever it started.
    process.wait()


def _await(tasks: Sequence[_Task], deadline: float, deadline_s: float) -> None:
    leader = tasks[0].process
    while leader.poll() is None:
        _check(tasks)
        if time.monotonic() > deadline:
            raise PeerFailed(f"not done within {deadline_s:g} s; its last line: {_last(tasks[0])}")
        time.sleep(_POLL_S)
    _check(tasks)
    deadline = time.monotonic() + _GRACE_S
    while any(task.process.poll() is None for task in tasks) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _check(tasks: Sequence[_Task]) -> None:
    for place, task in enumerate(tasks):
        if task.process.poll():
            which = f"task {place} of {len(tasks)}, " if len(tasks) > 1 else ""
            raise PeerFailed(f"{which}exit code {task.process.returncode}: {_last(task)}")


def _last(task: _Task) -> str:
    """The last line of stderr that is not blank."""
    task.stderr.seek(0)
    lines = [line.strip() for line in task.stderr if line.strip()]
    return lines[-1] if lines else "nothing on stderr"


def _results(leader: _Task) -> dict[str, float]:
    leader.stdout.seek(0)
    lines = leader.stdout.read().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise PeerFailed(f"it printed no results; on stderr: {_last(leader)}") from None


def module(python: str, name: str, *args: str) -> list[str]:
    """The command of a peer's module."""
    return [python, "-m", f"benchmarks.peers.{name}", *args]
