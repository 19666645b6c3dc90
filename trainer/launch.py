"""How does a whole cluster run on this machine?

`launch` starts one `python -m trainer` for each task, with its TF_CONFIG, shows what all of them say,
and sees to their end: together when one fails, on one Ctrl-C, and with the launcher itself.
"""

import ctypes
import glob
import json
import os
import pathlib
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from strategies.cluster import ClusterSpec, Task
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError
from trainer.cli import LaunchOptions

_HOST = "127.0.0.1"
_ERROR_MARK = "muster: error: "
_MAX_LINE_BYTES = 1 << 20
_DRAIN_S = 2.0
_EVALUATOR_S = 120.0  # It may still have checkpoints to look at when the last trainer ends.
_PR_SET_PDEATHSIG = 1
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


def run(options: LaunchOptions, trainer_args: Sequence[str], module: str = "trainer") -> int:
    """The exit code of a cluster that ran to its end on this machine.

    0 when every task ended so. Otherwise the code of the first task that failed, 128 + n when signal
    n killed it, and 75 only where every failure was 75. After Ctrl-C or SIGTERM: 75 if the tasks can
    be resumed, else 128 + n. Call it from the main thread: it handles signals.

    Args:
      options: what to start.
      trainer_args: flags for every task.
      module: what each task runs, with `python -m`.

    Raises:
      InputError: the options ask for what this machine cannot do.
    """
    clusters = plan(options, free_ports(_num_tasks(options)))
    gpus = share_gpus(clusters[0], options.devices_per_worker, _gpus_here(os.environ))
    args, made = _with_workdir(_with_devices(list(trainer_args), options.devices_per_worker))
    where = f", workdir {made}" if made else ""
    print(f"launch: {_described(clusters)} on this machine{where}", flush=True)
    # All of them before the first thread: what runs between fork and exec must not meet one.
    tasks = {
        cluster.task: _start(module, args, {**os.environ, **_environ(cluster, gpus)})
        for cluster in clusters
    }
    return _Supervisor(tasks, options.grace_s, made).supervise()


def plan(options: LaunchOptions, ports: Sequence[int]) -> list[ClusterSpec]:
    """One ClusterSpec for each task to start, the evaluator's last."""
    place = iter(ports)
    counts = {"chief": _num_chiefs(options), "worker": options.workers, "ps": options.ps}
    jobs = {
        job: tuple(f"{_HOST}:{next(place)}" for _ in range(count))
        for job, count in counts.items()
        if count
    }
    tasks = ClusterSpec(jobs).tasks() + ([Task("evaluator", 0)] if options.evaluator else [])
    return [ClusterSpec(jobs, task) for task in tasks]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody holds now.

    They lie below the range from which the system picks ports for outgoing connections, so none of
    those can take one before its task does.
    """
    ports: list[int] = []
    candidates = random.sample(range(10_000, _first_ephemeral_port()), 2_000)
    while len(ports) < count and candidates:
        port = candidates.pop()
        if _is_free(port):
            ports.append(port)
    if len(ports) < count:
        raise InputError(f"`launch` found too few free ports. Received: {len(ports)} of {count}.")
    return ports


def share_gpus(
    cluster: ClusterSpec, devices_per_worker: int, gpus: Sequence[str]
) -> dict[Task, str]:
    """CUDA_VISIBLE_DEVICES for each task that holds replicas; empty on a machine without GPUs.

    Raises:
      InputError: there are GPUs, but too few.
    """
    trainers = cluster.trainers()
    if gpus and len(gpus) < len(trainers) * devices_per_worker:
        raise InputError(
            f"`--devices_per_worker` asks for more GPUs than the {len(gpus)} of this machine. "
            f"Received: {devices_per_worker} for each of {len(trainers)} tasks; lower it or "
            '`--workers`, or set CUDA_VISIBLE_DEVICES="-1" to train on the CPU.'
        )
    return {
        task: ",".join(gpus[place * devices_per_worker : (place + 1) * devices_per_worker])
        for place, task in enumerate(trainers)
        if gpus
    }


def _num_chiefs(options: LaunchOptions) -> int:
    return int(bool(options.chief or options.ps))


def _num_tasks(options: LaunchOptions) -> int:
    return _num_chiefs(options) + options.workers + options.ps


def _first_ephemeral_port() -> int:
    try:
        text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return 32_768
    return max(int(text.split()[0]), 20_000)


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind((_HOST, port))
        except OSError:
            return False
    return True


def _gpus_here(environ: Mapping[str, str]) -> list[str]:
    """The GPUs that may be used: those of CUDA_VISIBLE_DEVICES, or all that have a device file."""
    files = sorted(glob.glob("/dev/nvidia[0-9]*"))
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not files:
        return [str(index) for index in range(len(files))]
    return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]


def _environ(cluster: ClusterSpec, gpus: Mapping[Task, str]) -> dict[str, str]:
    task = {"type": cluster.task.type, "index": cluster.task.index}
    environ = {
        "TF_CONFIG": json.dumps({"cluster": cluster.as_dict(), "task": task}),
        "PYTHONUNBUFFERED": "1",  # Else the lines of different tasks come in the wrong order.
        "TF_NUM_INTRAOP_THREADS": os.environ.get("TF_NUM_INTRAOP_THREADS", _cores_each(cluster)),
    }
    if gpus:
        environ["CUDA_VISIBLE_DEVICES"] = gpus.get(cluster.task, "-1")
    return environ


def _cores_each(cluster: ClusterSpec) -> str:
    """This machine's cores, shared out: tasks that each took all would wait for one another."""
    return str(max(1, len(os.sched_getaffinity(0)) // len(cluster.trainers())))


def _has_flag(args: Sequence[str], name: str) -> bool:
    return any(arg == f"--{name}" or arg.startswith(f"--{name}=") for arg in args)


def _with_devices(args: list[str], devices_per_worker: int) -> list[str]:
    return args if _has_flag(args, "devices") else [*args, f"--devices={devices_per_worker}"]


def _with_workdir(args: list[str]) -> tuple[list[str], str]:
    """The flags with one workdir for all tasks, and that workdir if it was made here."""
    if _has_flag(args, "workdir"):
        return args, ""
    named = re.search(r"--config[= ]([^ ]+)", " ".join(args))
    recipe = pathlib.Path(named[1]).stem if named else "digits_dense"
    workdir = _fresh_folder(pathlib.Path("runs"), f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}")
    return [*args, f"--workdir={workdir}"], str(workdir)


def _fresh_folder(parent: pathlib.Path, name: str) -> pathlib.Path:
    for folder in (parent / name, *(parent / f"{name}-{again}" for again in range(2, 100))):
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"`--workdir` must be a folder that can be written. Received: '{folder}' "
                f"({error.strerror}); name another."
            ) from None
    raise InputError(f"`--workdir` is missing, and '{parent / name}' is taken; name another.")


def _described(clusters: Sequence[ClusterSpec]) -> str:
    counts: dict[str, int] = {}
    for cluster in clusters:
        counts[cluster.task.type] = counts.get(cluster.task.type, 0) + 1
    return ", ".join(
        f"{count} {job}{'s' if count > 1 and job != 'ps' else ''}" for job, count in counts.items()
    )


def _start(module: str, args: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen:
    """The process of one task, in a session of its own: the terminal's Ctrl-C reaches only us."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *args],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509, no thread runs yet.
    )


def _die_with(launcher: int) -> Callable[[], None] | None:
    """Makes the system end a task whose launcher was killed, and so could not end it itself."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # Looked up here: little may be done between fork and exec.

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(EXIT_RESUME)

    return ask


class _Screen:
    """Whole lines on stdout, each headed by its task."""

    def __init__(self, tasks: Sequence[Task]):
        self._width = max(len(str(task)) for task in tasks) + 2
        self._places = {task: place for place, task in enumerate(tasks)}
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def show(self, task: Task, line: str) -> None:
        head = f"[{task}]".ljust(self._width)
        if self._coloured:
            head = f"\x1b[{_COLOURS[self._places[task] % len(_COLOURS)]}m{head}\x1b[0m"
        with self._lock:
            sys.stdout.write(f"{head} {line}\n")
            sys.stdout.flush()


class _Supervisor:
    """Watches the tasks from start to end. Threads read and wait; this one alone decides."""

    def __init__(self, tasks: Mapping[Task, subprocess.Popen], grace_s: float, made: str):
        self._tasks = tasks
        self._grace_s = grace_s
        self._made = made
        self._screen = _Screen(list(tasks))
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # A signal handler may put into it.
        self._last_lines = dict.fromkeys(tasks, "")
        self._exits: dict[Task, int] = {}  # In the order of the ends.
        self._failures: list[Task] = []
        self._signal: signal.Signals | None = None
        self._is_stopping = False
        self._stop_at: float | None = None
        self._kill_at: float | None = None

    def supervise(self) -> int:
        """The exit code, after every task has ended and its output is shown."""
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._note_signal) for number in signals}
        try:
            self._start_threads()
            while len(self._exits) < len(self._tasks):
                self._handle(self._next_event())
                self._keep_deadlines()
            return self._conclude()
        finally:
            self._kill()  # There is something to kill only if this is left by an exception.
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start_threads(self) -> None:
        for task, process in self._tasks.items():
            reader = threading.Thread(target=self._read, args=(task, process), daemon=True)
            reader.start()
            threading.Thread(target=self._await, args=(task, process, reader), daemon=True).start()

    def _read(self, task: Task, process: subprocess.Popen) -> None:
        for line in _lines(process.stdout):
            if line.strip() and not self._last_lines[task].startswith(_ERROR_MARK):
                self._last_lines[task] = line.strip()
            try:
                self._screen.show(task, line)
            except OSError:  # Nobody reads us any more.
                self._events.put(signal.SIGTERM)
                return

    def _await(self, task: Task, process: subprocess.Popen, reader: threading.Thread) -> None:
        code = process.wait()
        reader.join(_DRAIN_S)  # A process that the task left behind may hold the pipe for ever.
        self._events.put((task, code))

    def _note_signal(self, number: int, _frame: object) -> None:
        self._events.put(signal.Signals(number))

    def _next_event(self) -> signal.Signals | tuple[Task, int] | None:
        deadlines = [at for at in (self._kill_at, self._stop_at) if at is not None]
        timeout_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _handle(self, event: signal.Signals | tuple[Task, int] | None) -> None:
        if isinstance(event, signal.Signals):
            self._interrupt(event)
        elif event:
            self._note_end(*event)

    def _interrupt(self, number: signal.Signals) -> None:
        if self._signal:
            self._kill()
            return
        self._signal = number
        _say(f"launch: {number.name}, stopping; once more to kill")
        self._stop()

    def _note_end(self, task: Task, code: int) -> None:
        self._exits[task] = code
        if code != EXIT_DONE and not self._was_stopped(code):
            self._failures.append(task)
            self._stop()
        elif self._is_training_over() and not self._is_stopping:
            is_evaluating = any(
                task.type == "evaluator" for task in self._tasks.keys() - self._exits
            )
            self._stop_at = time.monotonic() + (_EVALUATOR_S if is_evaluating else self._grace_s)

    def _was_stopped(self, code: int) -> bool:
        """True for an end that only says that it was asked for."""
        asked_for = (-signal.SIGTERM, -signal.SIGKILL)
        if self._is_training_over():  # What a parameter server would have gone on with is over.
            asked_for += (EXIT_RESUME,)
        return self._is_stopping and code in asked_for

    def _is_training_over(self) -> bool:
        return all(task in self._exits for task in self._tasks if task.type in ("chief", "worker"))

    def _keep_deadlines(self) -> None:
        now = time.monotonic()
        if self._stop_at is not None and now >= self._stop_at:
            self._stop()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._kill()

    def _stop(self) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        self._stop_at = None
        self._kill_at = time.monotonic() + self._grace_s
        for process in self._running():
            process.terminate()

    def _kill(self) -> None:
        for process in self._running():
            try:
                os.killpg(process.pid, signal.SIGKILL)  # With whatever it started.
            except (ProcessLookupError, PermissionError):
                process.kill()

    def _running(self) -> Iterator[subprocess.Popen]:
        return (process for task, process in self._tasks.items() if task not in self._exits)

    def _conclude(self) -> int:
        sys.stdout.flush()
        if self._signal:
            return self._conclude_interrupted()
        if not self._failures:
            return EXIT_DONE
        faults = [task for task in self._failures if self._exits[task] != EXIT_RESUME]
        task = (faults or self._failures)[0]
        code = self._exits[task]
        how = f"failed with exit code {code}" if code > 0 else f"was killed by {_name(-code)}"
        if code == EXIT_RESUME and self._made:
            _say(f"launch: to go on, run the same command with --workdir={self._made}")
        last = self._last_lines[task].removeprefix(_ERROR_MARK)
        _say(f"launch: {task} {how}: {last}" if last else f"launch: {task} {how}")
        return code if code > 0 else 128 - code

    def _conclude_interrupted(self) -> int:
        codes = {*self._exits.values()}
        if codes == {EXIT_DONE}:
            return EXIT_DONE
        if EXIT_RESUME in codes and codes <= {EXIT_DONE, EXIT_RESUME, -signal.SIGTERM}:
            more = f" with --workdir={self._made}" if self._made else ""
            _say(f"launch: stopped by {self._signal.name}; run the same command{more} to go on")
            return EXIT_RESUME
        _say(f"launch: stopped by {self._signal.name}")
        return 128 + self._signal


def _lines(stream) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE_BYTES):
        yield line.decode(errors="replace").rstrip("\r\n")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
