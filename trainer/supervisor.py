"""What becomes of a cluster's processes, from their start to their end?"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from strategies.cluster import Task
from strategies.errors import EXIT_DONE, EXIT_RESUME

_ERROR_MARK = "muster: error: "
_MAX_LINE_BYTES = 1 << 20
_DRAIN_S = 2.0
_EVALUATOR_S = 120.0  # It may still have checkpoints to look at when the last trainer ends.
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


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


class Supervisor:
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
