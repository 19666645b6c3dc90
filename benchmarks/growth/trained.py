"""How fast does a run train, and in how much memory? It is a command of this trainer, in a new folder."""

import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.launched import Memory


class RunFailed(Exception):
    """A command ended with an error, or was not done in time; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """`examples_per_s`: the median of the epochs after the first; of the run, where there is but one.

    `peak_mib`: of all processes together, where pages that several share count once. `sent_bytes`: what
    one of several workers sent in a step.
    """

    examples_per_s: float
    peak_mib: float
    seconds: float
    sent_bytes: float


def train(config: Mapping[str, Any], launch: Sequence[str], deadline_s: float) -> Trained:
    """Trains with these fields of the config. `launch`: the words before those of train.

    Raises RunFailed.
    """
    fields = {"train.eval_every_epochs": 0, "train.checkpoint_every_steps": 1_000_000, **config}
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--workdir={folder}/run", "--config=mnist_dense", "--compile_cache=off"]
        seconds, peak = run([*launch, *flags, "--report=false", *overrides], deadline_s)
        workdir = pathlib.Path(folder, "run")
        summary = json.loads((workdir / "summary.json").read_text(encoding="utf-8"))
        events = map(json.loads, (workdir / "metrics.jsonl").read_text("utf-8").splitlines())
        speeds = [event["examples_per_s"] for event in events if event["event"] == "train"]
    speed = statistics.median(speeds[1:]) if speeds[1:] else summary["examples_per_s"]
    sent = summary.get("update_bytes", 0) / summary["steps"]
    return Trained(speed, peak, seconds, sent)


def run(words: Sequence[str], deadline_s: float) -> tuple[float, float]:
    """Runs `python -m trainer` with these words: its seconds, and its peak MiB. Raises RunFailed."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:  # A pipe that is not read would block its writer.
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer", *words], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
        memory = Memory(process.pid)
        try:
            code = process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"not done within {deadline_s:g} s") from None
        finally:
            memory.is_over.set()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            log.seek(0)
            lines = [line.strip() for line in log if line.strip()]
            raise RunFailed(f"exit code {code}: {lines[-1] if lines else 'no output'}")
    return time.perf_counter() - began, memory.peak_mib()
