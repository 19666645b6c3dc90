"""How long do the workers of one machine take to their first step, and back after one is killed?

    python -m benchmarks.peers.launched WORK start|restart NUM_WORKERS [FLAG OF launch...]

A batch is an epoch, so that each step prints a line. `start`: seconds from the command to the first step.
`restart`: seconds from the SIGKILL of worker 1 to the next step. `peak_mib` is the largest memory of all
processes together, where pages that several share count once.
"""

import contextlib
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from benchmarks.work import say

_FLAGS = (
    "--config.data.train_examples=64",
    "--config.train.epochs=1000000",
    "--config.train.eval_every_epochs=0",
    "--config.train.checkpoint_every_steps=100",
)
_STEP = r" train +\| "
_SAMPLE_EVERY_S = 0.2
_PATIENCE_S = 90.0
_STEADY_S = 2.0  # Of training, before a worker is killed.


def main() -> None:
    _, _, kind, workers, *flags = sys.argv
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "trainer", "launch", f"--workers={workers}", *flags, "--"),
            *(f"--workdir={folder}/run", *_FLAGS),
        ]
        say(**_KINDS[kind](command))


def start(command: list[str]) -> dict[str, float]:
    began = time.perf_counter()
    with Cluster(command) as cluster:
        memory = cluster.sample_memory()
        cluster.await_line(_STEP)
        return {"seconds": time.perf_counter() - began, "peak_mib": memory.peak_mib()}


def restart(command: list[str]) -> dict[str, float]:
    with Cluster(command) as cluster:
        memory = cluster.sample_memory()
        cluster.await_line(_STEP)
        time.sleep(_STEADY_S)
        worker = cluster.pid_of("worker", 1)
        cluster.skip_lines()
        began = time.perf_counter()
        os.kill(worker, signal.SIGKILL)
        cluster.await_line("restart 1 of 3")
        cluster.await_line(_STEP)
        return {"seconds": time.perf_counter() - began, "peak_mib": memory.peak_mib()}


_KINDS = {"start": start, "restart": restart}


class Cluster:
    """A running command with the processes that it starts. All are killed at the end."""

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._memory: Memory | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def sample_memory(self) -> "Memory":
        """That of its processes from now on. To read it takes a third of a core from what is measured."""
        self._memory = Memory(self._process.pid)
        return self._memory

    def _read(self) -> None:
        """Reads always, as a process whose output nobody reads would block."""
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def skip_lines(self) -> None:
        """Forgets what was printed so far."""
        while not self._lines.empty():
            self._lines.get()

    def await_line(self, pattern: str) -> re.Match[str]:
        """The first match of a line. Raises SystemExit where no line matches."""
        last, why = "nothing", "before the end"
        try:
            while (line := self._lines.get(timeout=_PATIENCE_S)) is not None:
                if found := re.search(pattern, line):
                    return found
                last = line
        except queue.Empty:
            why = f"within {_PATIENCE_S:g} s"
        sys.exit(f"{pattern!r} was not printed {why}; the last line was {last!r}")

    def pid_of(self, job: str, index: int) -> int:
        """The process of one task, by the label in its command or by its TF_CONFIG."""
        wanted = f'"type": "{job}", "index": {index}'.encode(), f"[{job} {index}]".encode()
        for pid in _descendants(self._process.pid):
            with contextlib.suppress(OSError):
                process = pathlib.Path(f"/proc/{pid}")
                texts = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
                if any(want in text for want, text in zip(wanted, texts, strict=True)):
                    return pid
        sys.exit(f"no process is {job} {index}")

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *unused: object) -> None:
        if self._memory:
            self._memory.is_over.set()
        for pid in [*_descendants(self._process.pid), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(_PATIENCE_S)


class Memory:
    """The memory of a process and its descendants, sampled in a thread."""

    def __init__(self, pid: int):
        self.is_over = threading.Event()
        self._pid = pid
        self._peak_kib = 0
        threading.Thread(target=self._sample, daemon=True).start()

    def peak_mib(self) -> float:
        self._measure()
        return self._peak_kib / 1024

    def _sample(self) -> None:
        while not self.is_over.wait(_SAMPLE_EVERY_S):
            self._measure()

    def _measure(self) -> None:
        pids = [self._pid, *_descendants(self._pid)]
        self._peak_kib = max(self._peak_kib, sum(map(_proportional_kib, pids)))


def _proportional_kib(pid: int) -> int:
    """The kernel's "proportional set size": a page that n processes share counts 1/n for each."""
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1])  # type: ignore[index]
    return 0


def _descendants(pid: int) -> Iterator[int]:
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                yield child
                yield from _descendants(child)


if __name__ == "__main__":
    main()
