"""How do tests run a cluster of real processes, and read its results?

A `Process` is one of them, and a `Run` is a finished workdir. Every wait has a timeout. What a test
started is ended with it: by its pid, never by name.

`python -m trainer` is forked from one warm process of the test session (trainer/process/start/), as
importing TensorFlow takes longer than most tests. Tests of the command line, the environment or the start
itself have the mark `cold`: theirs are started by exec.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from strategies import tensorflow_import
from strategies.cluster.spec import ClusterSpec, Task
from tests.cluster import held
from tests.paths import ROOT
from trainer.launch import ports as ports_lib
from trainer.process.start.child import Child
from trainer.process.start.program import Program
from trainer.process.start.starter import Starter
from trainer.task import PRELOAD

PATIENCE_S = 240.0  # For what takes 15 s on an idle machine.
TRAINER = ("-m", "trainer")


is_warm = True  # False in tests with the mark `cold`.


@functools.cache
def _starter() -> Starter:
    """What starts the session's processes."""
    starter = Starter((PRELOAD,), lambda report: warnings.warn(report, stacklevel=2))
    atexit.register(starter.close)
    return starter


def _forked(program: Program) -> tuple[Child, int]:
    """The running program, and the descriptor from which its output is read."""
    output, theirs = os.pipe()
    try:
        child = _starter().start(program, theirs)
    finally:
        os.close(theirs)
    assert child  # As nobody gave up.
    return child, output


def _executed(
    command: Sequence[str], environ: Mapping[str, str], folder: pathlib.Path
) -> tuple[Child, int]:
    output, theirs = os.pipe()
    try:
        child = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(theirs)
    return child, output


class Process:
    """A Python process and its output so far, stdout and stderr together.

    A context manager: the process is ended at the end of the block.
    """

    def __init__(
        self,
        args: Sequence[str],
        environ: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        program: str = sys.executable,
        folder: pathlib.Path = ROOT,
    ):
        """`within`: a command that executes another, as `ip netns exec NAME`; `program`: instead of
        Python; `folder`: where it runs."""
        self.screen: list[str] = []
        self._changed = threading.Condition()
        self._is_read = False
        tensorflow_import.set_environ_defaults()  # As `python -m trainer` does, and so its processes.
        # On the CPU on any machine: the expected numbers are for it.
        environ = {**_plain_environ(), "CUDA_VISIBLE_DEVICES": "-1", **(environ or {})}
        if held.VARIABLE in environ and tuple(args[:2]) == TRAINER:
            args = ["-m", held.NAME, *args[2:]]
        if is_warm and args[0] == "-m" and not within and program == sys.executable:
            self._process, output = _forked(Program(args[1], args[2:], environ, folder=str(folder)))
        else:
            self._process, output = _executed([*within, program, *args], environ, folder)
        self._output = open(output, encoding="utf-8", errors="replace")  # noqa: SIM115
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        return "\n".join(self.screen)

    @property
    def error(self) -> str:
        """The one line that `python -m trainer` ends with when it fails."""
        lines = [line for line in self.screen if line.startswith("muster: error: ")]
        assert len(lines) == 1 and "Traceback" not in self.said, self.said
        return lines[0].removeprefix("muster: error: ")

    def await_line(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """The first line with this text, printed already or within `timeout_s`."""
        return self.await_lines(text, 1, timeout_s)[0]

    def await_lines(
        self, text: str, count: int, timeout_s: float = PATIENCE_S, after: int = 0
    ) -> list[str]:
        """The first `count` lines with this text, skipping the first `after` lines of the output."""
        deadline = time.monotonic() + timeout_s
        found, seen = [], after
        with self._changed:
            while True:
                found += [line for line in self.screen[seen:] if text in line]
                seen = len(self.screen)
                if len(found) >= count:
                    return found[:count]
                left_s = deadline - time.monotonic()
                assert not self._is_read and left_s > 0, f"{text!r} was not printed:\n{self.said}"
                self._changed.wait(left_s)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code, once all output has been read."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s:\n{self.said}") from None
        self._reader.join(timeout_s)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)  # A stopped one does not handle SIGTERM.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._output.close()

    def _read(self) -> None:
        for line in self._output:
            with self._changed:
                self.screen.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._is_read = True
            self._changed.notify_all()


class Run:
    """The content of a workdir that `python -m trainer` wrote."""

    def __init__(self, workdir: pathlib.Path, screen: str = ""):
        self.workdir = workdir
        self.screen = screen

    @functools.cached_property
    def summary(self) -> dict:
        return json.loads((self.workdir / "summary.json").read_text())

    @property
    def checkpoint_steps(self) -> list[int]:
        return sorted(int(path.name[5:]) for path in self.workdir.glob("checkpoints/step-*"))

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Every array of the newest checkpoint, by its name."""
        newest = max(self.workdir.glob("checkpoints/step-*"))
        with np.load(newest / "arrays.npz") as file:
            return {name: file[name] for name in file.files}

    @property
    def weights(self) -> list[np.ndarray]:
        return [array for name, array in self.arrays.items() if name.startswith("weights/")]

    @property
    def iterations(self) -> set[int]:
        """The numbers of updates that the optimizer has counted, one per weight."""
        return {int(array) for name, array in self.arrays.items() if name.endswith("/iteration")}

    @functools.cached_property
    def examples(self) -> dict[int, list[tuple[int, list[int]]]]:
        """For each replica what it logged, in its order: (step, the examples that it consumed)."""
        found = {}
        for path in self.workdir.glob("examples-*.jsonl"):
            records = [json.loads(line) for line in path.read_text().splitlines()]
            replica = int(path.stem.removeprefix("examples-"))
            found[replica] = [(record["step"], record["examples"]) for record in records]
        return dict(sorted(found.items()))


def launching(
    workdir: pathlib.Path, *flags: str, workers: int = 2, ps: int = 0, also: Sequence[str] = ()
) -> Process:
    """A running `python -m trainer launch`; `also` are more of its own flags."""
    own = [f"--workers={workers}", f"--ps={ps}", *also]
    return Process([*TRAINER, "launch", *own, "--", f"--workdir={workdir}", *flags])


def training(workdir: pathlib.Path | str, *flags: str) -> Process:
    """A running `python -m trainer`, as a single task. `workdir` may be a gs:// URL."""
    return Process([*TRAINER, f"--workdir={workdir}", *flags])


def finished(process: Process, workdir: pathlib.Path, timeout_s: float = PATIENCE_S) -> Run:
    """The run of a process, which must end with exit code 0."""
    with process:
        code = process.wait(timeout_s)
        assert code == 0, f"exit code {code}:\n{process.said}"
    return Run(workdir, process.said)


def printed_json(process: Process) -> dict:
    """The last line of the output that is a JSON object."""
    return json.loads([line for line in process.screen if line.startswith("{")][-1])


def clusters(**counts: int) -> list[ClusterSpec]:
    """A ClusterSpec for each task of a cluster on free ports: `clusters(chief=1, worker=2)`."""
    ports = iter(ports_lib.free_ports(sum(counts.values())))
    jobs = {
        job: tuple(f"127.0.0.1:{next(ports)}" for _ in range(count))
        for job, count in counts.items()
    }
    return [ClusterSpec(jobs, task) for task in ClusterSpec(jobs).tasks()]


def tf_config(cluster: ClusterSpec) -> dict[str, str]:
    """The environment variables that make a process this task."""
    task = {"type": cluster.task.type, "index": cluster.task.index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster.as_dict(), "task": task})}


def task(cluster: ClusterSpec, workdir: pathlib.Path, *flags: str) -> Process:
    """One running task of a cluster."""
    return Process([*TRAINER, f"--workdir={workdir}", *flags], tf_config(cluster))


def pid_of(launcher: Process, wanted: Task, timeout_s: float = PATIENCE_S) -> int:
    """The pid of one task that `launch` started."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for pid in children(launcher.pid):
            if _is_task(pid, wanted):
                return pid
        time.sleep(0.05)  # There is no event for the child of another process.
    raise AssertionError(f"no process of {wanted}:\n{launcher.said}")


def warm_pid(launcher: Process) -> int:
    """The pid of the warm process of a `launch` or `tune`."""
    (pid,) = (pid for pid in children(launcher.pid) if b"fork_server" in command_of(pid))
    return pid


def guarded(task: Process) -> int:
    """The pid of the process that does the work of a task: the task's own process is its guardian."""
    (pid,) = children(task.pid)
    return pid


def children(pid: int) -> Iterator[int]:
    """The pids of the processes that this one started; none where it is gone."""
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, path.read_text().split())


def descendants(pid: int) -> list[int]:
    return [pid for child in children(pid) for pid in (child, *descendants(child))]


def await_end_of(pids: Iterable[int], timeout_s: float = PATIENCE_S) -> None:
    """Returns once these processes are gone. Kills one that is not, and fails."""
    deadline = time.monotonic() + timeout_s
    for pid in pids:
        with contextlib.suppress(ProcessLookupError), _pidfd(pid) as descriptor:
            ended, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            if not ended:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            assert ended, f"process {pid} was still running after {timeout_s:g} s"


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_task(pid: int, task: Task) -> bool:
    """Whether this process of `launch` is the task: forked ones have a label, others TF_CONFIG."""
    if command_of(pid).rstrip(b"\0").endswith(f"[{task}]".encode()):
        return True
    return _task_in_environ(pid) == [task.type, task.index]


def command_of(pid: int) -> bytes:
    """The command line of a process as in /proc; b"" where it is gone."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _task_in_environ(pid: int) -> list | None:
    with contextlib.suppress(OSError, ValueError):
        for entry in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == b"TF_CONFIG":
                found = json.loads(value)["task"]
                return [found["type"], found["index"]]
    return None


def _plain_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
