"""This trainer, through its own command line, whose flags follow the work.

What it says of its speed leaves out the first epoch, as every peer does, and nothing else of training:
gathering examples and converting them is timed. In a cluster the task that has the summary reports.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.work import Work, say


def main() -> None:
    work = Work.from_args()
    with tempfile.TemporaryDirectory() as workdir:
        done = subprocess.run(command(work, workdir, sys.argv[2:]), check=False)
        if done.returncode:
            sys.exit(done.returncode)
        if os.path.exists(pathlib.Path(workdir, "summary.json")):
            say(**measured(pathlib.Path(workdir)))


def command(work: Work, workdir: str, flags: list[str]) -> list[str]:
    config = {
        "data.dir": os.path.dirname(work.file),
        "data.train_examples": work.num_examples,
        "data.global_batch_size": work.global_batch_size,
        "train.epochs": work.epochs,
        "train.eval_every_epochs": 0,
        "train.checkpoint_every_steps": work.steps,
    }
    overrides = [f"--config.{name}={value}" for name, value in config.items()]
    own = [f"--workdir={workdir}", "--config=mnist_dense", *overrides]
    return [sys.executable, "-m", "trainer", *own, *flags]


def measured(workdir: pathlib.Path) -> dict[str, float]:
    summary = json.loads((workdir / "summary.json").read_text())
    events = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [event["loss"] for event in events if event["event"] == "train"]
    return {
        "examples_per_s": summary["examples_per_s"],
        "first_loss": losses[0],
        "loss": statistics.mean(losses[1:]),
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
