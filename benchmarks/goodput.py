"""How much of the time is useful while a worker is killed again and again? Beside torchrun.

    python -m benchmarks.goodput SECONDS KILL_EVERY_S [PYTHON_WITH_TORCH]

Two workers train for SECONDS undisturbed, and then for SECONDS with a SIGKILL of worker 1 every
KILL_EVERY_S, from the first step on. Goodput is the rate of steps that count in the second run over that
in the first. Then one process trains the same number of steps: the weights must be equal. The run's own
account of its time, in summary.json, is printed too. With a Python that has PyTorch, as in .venv-bench,
torchrun follows.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks.peers.launched import Cluster

_TRAIN = [sys.executable, "-m", "trainer"]
_FLAGS = ["--config.train.eval_every_epochs=0", "--config.train.checkpoint_every_steps=240",
          "--report=false"]  # fmt: skip
_ENDLESS = "--config.train.epochs=1000000"
_STEP = r" train +\| step +([\d,]+)"
_TORCH_WORKER = pathlib.Path(__file__).parent / "peers" / "torch_elastic_worker.py"


def main() -> None:
    seconds, every_s, *torch = float(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]
    with tempfile.TemporaryDirectory() as folder:
        rates = [
            _rate(_launched(f"{folder}/{every}"), _STEP, _worker_1, seconds, every)
            for every in (0.0, every_s)
        ]
        print(
            f"muster: {_shown(rates)}; {_same_weights(f'{folder}/{every_s}', folder)}", flush=True
        )
    for python in torch:
        try:
            rates = [_torch_rate(python, seconds, every) for every in (0.0, every_s)]
            print(f"torchrun: {_shown(rates)}")
        except SystemExit as error:  # It stopped printing steps, which is a result too.
            print(f"torchrun: {error}")


def _torch_rate(python: str, seconds: float, every_s: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command = [
            *run,
            "--max-restarts=1000",
            "--monitor-interval=0.1",
            str(_TORCH_WORKER),
            folder,
        ]
        pid = pathlib.Path(folder, "pid-1")
        return _rate(command, r"^step (\d+)", lambda _: int(pid.read_text()), seconds, every_s)


def _launched(workdir: str) -> list[str]:
    return [*_TRAIN, "launch", "--workers=2", "--", f"--workdir={workdir}", _ENDLESS, *_FLAGS]


def _worker_1(cluster: Cluster) -> int:
    return cluster.pid_of("worker", 1)


def _rate(
    command: list[str], step: str, victim: Callable[[Cluster], int], seconds: float, every_s: float
) -> float:
    """Steps a second that count, from the first step on."""
    with Cluster(command) as cluster:
        first = last = _number(cluster, step)
        began = time.monotonic()
        kill_at = began + every_s
        while time.monotonic() < began + seconds:
            last = _number(cluster, step)
            if every_s and time.monotonic() >= kill_at:
                os.kill(victim(cluster), signal.SIGKILL)
                kill_at += every_s
        return (last - first) / (time.monotonic() - began)


def _number(cluster: Cluster, step: str) -> int:
    return int(cluster.await_line(step)[1].replace(",", ""))


def _shown(rates: list[float]) -> str:
    free, killed = rates
    return f"goodput {killed / free:.3f} ({killed:,.0f} of {free:,.0f} steps a second)"


def _same_weights(workdir: str, folder: str) -> str:
    """Whether the run in `workdir` and one process have the same weights after the same steps."""
    steps = max(int(path.name[5:]) for path in pathlib.Path(workdir, "checkpoints").glob("step-*"))
    found = []
    for one in (workdir, f"{folder}/one"):
        flags = [f"--workdir={one}", f"--config.train.steps={steps}", *_FLAGS]
        subprocess.run([*_TRAIN, *flags], check=True, capture_output=True)
        found.append(json.loads(pathlib.Path(one, "summary.json").read_text(encoding="utf-8")))
    same = found[0]["weights_sha256"] == found[1]["weights_sha256"]
    spent = found[0]["time_spent"]
    return (
        f"{'the same' if same else 'OTHER'} weights as one process after {steps:,} steps; its own "
        f"account: goodput {spent['goodput']} of {spent['wall_s']} s over {spent['starts']} starts"
    )


if __name__ == "__main__":
    main()
