"""How fast is this trainer, through its own command line? Flags after the work are passed on.

`--net=NAME` trains that net of `benchmarks/recipes` in place of the dense one.

Its speed is that of each epoch after the first, as it logged them: gathering examples and converting
them is timed. In a cluster the task that has the summary reports. Each run compiles its programs.
"""

import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.work import Work, say, speed

_MOST_EXAMPLES_PER_S = 400_000
_MOST_OF_NETS = 40_000
_RECIPES = pathlib.Path(__file__).resolve().parents[1] / "recipes"


def main() -> None:
    work = Work.from_args()
    with tempfile.TemporaryDirectory() as workdir:
        done = subprocess.run(
            command(work, workdir, ["--compile_cache=off", *sys.argv[2:]]), check=False
        )
        if done.returncode:
            sys.exit(done.returncode)
        if os.path.exists(pathlib.Path(workdir, "summary.json")):
            say(**measured(pathlib.Path(workdir), work))


def command(work: Work, workdir: str, flags: list[str]) -> list[str]:
    nets = [flag.removeprefix("--net=") for flag in flags if flag.startswith("--net=")]
    recipe = str(_RECIPES / f"{nets[0]}.py") if nets else "mnist_dense"
    # Enough epochs to fill the time at the highest speed seen so far.
    most = _MOST_OF_NETS if nets else _MOST_EXAMPLES_PER_S
    epochs = max(work.epochs, 1 + math.ceil(work.min_seconds * most / work.num_examples))
    config = {
        "data.source": f"npz:{pathlib.Path(work.file).with_name('examples.npz')}",
        "data.train_examples": work.num_examples,
        "data.global_batch_size": work.global_batch_size,
        "train.epochs": epochs,
        "train.eval_every_epochs": 0,
        "train.checkpoint_every_steps": epochs * work.warm_up,
    }
    overrides = [f"--config.{name}={value}" for name, value in config.items()]
    own = [f"--workdir={workdir}", f"--config={recipe}", *overrides]
    rest = [flag for flag in flags if not flag.startswith("--net=")]
    return [sys.executable, "-m", "trainer", *own, *rest]


def measured(workdir: pathlib.Path, work: Work) -> dict[str, object]:
    events = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    epochs = [event for event in events if event["event"] == "train"]
    losses = [epoch["loss"] for epoch in epochs]
    return {
        **speed([epoch["examples_per_s"] for epoch in epochs[1:]]),
        "first_loss": losses[0],
        "loss": statistics.mean(losses[1 : work.epochs]),
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
