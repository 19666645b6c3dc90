"""What does a task spend its time on?

`Timeline` divides it into phases, and appends the seconds of each to `timeline-TASK.jsonl`, with the step
that was reached. It does so about once a second, so the file of a killed task lacks a second, or its last
call, at most; later in a long start less often, so that the file stays small. Nothing is measured for
each step: the loop asks for the time once a call.
"""

import collections
import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from strategies.errors import os_reason

# In the order of a start. `exchange` is taken from the phase in which it happens.
PHASES = ("start", "wait", "compile", "input", "compute", "exchange", "evaluate", "save", "serve",
          "other")  # fmt: skip
_EVERY_S = 1.0
_EVERY_FRACTION = 0.005  # Of the time since the start, where that is longer.


def path_of(folder: pathlib.Path, task: object) -> pathlib.Path:
    """The file of a task, such as "worker 1"."""
    return folder / f"timeline-{str(task).replace(' ', '-')}.jsonl"


class Timeline:
    """The time of one start of one task. Where `keep_in` is not called it is written nowhere.

    `exchange_s`: seconds that this process has exchanged gradients, so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, age_s: float = 0.0):
        """`age_s`: for how long the process had run; that time belongs to the start."""
        self.exchange_s: Callable[[], float] = float
        self._clock = clock
        self._began = self._since = self._written = clock() - age_s
        self._seconds: dict[str, float] = collections.defaultdict(float)
        self._phase, self._step, self._exchanged_s = "start", 0, 0.0
        self._compiled: set[str] = set()
        self._first_steps: int | None = None
        self._file: int | None = None

    @classmethod
    def of_this_process(cls) -> "Timeline":
        return cls(age_s=_process_age_s())

    def keep_in(self, folder: pathlib.Path, task: object) -> None:
        """Writes from now on, and what was measured before. A failure to write is only reported."""
        self._path = path_of(folder, task)
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(self._path, flags, 0o644)
            os.write(
                self._file, b"\n" if os.fstat(self._file).st_size else b""
            )  # After half a line.
        except OSError as error:
            self._give_up(error)
        began = time.time() - (self._clock() - self._began)
        self._write({"event": "start", "time": began})
        self.flush()

    def enter(self, phase: str) -> None:
        """From now on, time belongs to this phase."""
        now, exchanged_s = self._clock(), self.exchange_s()
        exchange_s, self._exchanged_s = exchanged_s - self._exchanged_s, exchanged_s
        self._seconds[self._phase] += now - self._since - exchange_s
        self._seconds["exchange"] += exchange_s
        self._since, self._phase = now, phase

    @contextlib.contextmanager
    def during(self, phase: str, compiles: bool = False) -> Iterator[None]:
        """Inside it time belongs to the phase. Where it `compiles`, the first time belongs to that."""
        before = self._phase
        if compiles and phase not in self._compiled:
            self._compiled.add(phase)
            phase = "compile"
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def ran(self, end_step: int, seconds: float) -> None:
        """A loop call has taken the steps up to `end_step` in these `seconds`."""
        num_steps, self._step = end_step - self._step, end_step
        if self._first_steps is None:
            self._first_steps = num_steps
            return  # What the second call takes says how much of the first was not compiling.
        if self._first_steps:
            steps = min(self._first_steps * seconds / max(num_steps, 1), self._seconds["compile"])
            self._seconds["compile"] -= steps
            self._seconds["compute"] += steps
            self._first_steps = 0
        self._flush_if_due()

    def resumed(self, step: int) -> None:
        """The run has restored the state after `step` steps: later ones are repeated."""
        self.flush()
        self._step = step
        self._write({"event": "resume", "step": step, "time": time.time()})

    def note(self, event: str, text: str = "", **values: Any) -> None:
        """Writes that something happened now. Any thread may call it."""
        self._write({"event": event, "text": text, "time": time.time(), **values})

    def end(self, reason: str) -> None:
        """Writes what is left, and why this start ends."""
        self.flush()
        self.note("end", reason)

    def flush(self) -> None:
        """Writes what was measured so far."""
        self.enter(self._phase)
        self._written = self._since
        seconds = {name: round(value, 4) for name, value in self._seconds.items() if value}
        if self._file is not None and seconds:
            self._seconds.clear()
            self._write({"time": time.time(), "step": self._step, "seconds": seconds})

    def _flush_if_due(self) -> None:
        every_s = max(_EVERY_S, _EVERY_FRACTION * (self._since - self._began))
        if self._since - self._written >= every_s:
            self.flush()

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            os.write(self._file, json.dumps(record).encode() + b"\n")
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._file = None
        logging.warning(
            "how this task spends its time is not recorded: %s (%s)", self._path, os_reason(error)
        )


def _process_age_s() -> float:
    """How long this process has run, by Linux's clock; 0 elsewhere."""
    try:
        fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime_s = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime_s - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
