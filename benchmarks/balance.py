"""What does a worker cost that has half its speed, with equal and with measured shares of a batch?

    python -m benchmarks.balance [SECONDS] [dense|cnn]

It trains the same net with 2 and with 3 workers: all at full speed, and with the last worker stopped
for half of the time, with `data.balance=equal` and `measured`; and with a parameter server. Equal shares
are measured with a block for each worker, which is fastest, and with the blocks of measured ones. It
prints a table of steps per second over the last SECONDS (30) of each run, which begin once blocks had
time to move. It needs a core for each worker. In the dense net an example takes 670,000 products, and
workers exchange 670,000 weights; in the CNN 4,200,000 products, and 420,000 weights.
"""

import json
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.peers.launched import Cluster
from benchmarks.throttle import throttled

WORKERS = (2, 3)
BLOCKS = 24  # 16 + 8, and 10 + 9 + 5, with the last at half the speed.
SETTLE_S = 15.0  # In which blocks are moved, for the share of what is timed below.
_NETS = {
    "dense": ("--config.model.hidden_units=512,512",),
    "cnn": ("--config=benchmarks/recipes/cnn.py", "--config.data.name=digits"),
}
_FLAGS = (
    "--config.data.global_batch_size=192",
    "--config.train.epochs=1000000",
    "--config.train.eval_every_epochs=0",
    "--config.train.checkpoint_every_steps=50",
)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    net = sys.argv[2] if len(sys.argv) > 2 else "dense"
    print(
        "| | all at full speed | one at half, equal | the same in more blocks | measured | blocks |"
    )
    print("|---|---|---|---|---|---|")
    for workers in WORKERS:

        def run(balance: str, speed: float, blocks: int, workers: int = workers):
            return steps_per_s(net, workers, 0, balance, speed, seconds, blocks)

        full, _ = run("equal", 1.0, workers)
        slower = [run("equal", 0.5, blocks)[0] for blocks in (workers, BLOCKS)]
        measured, held = run("measured", 0.5, BLOCKS)
        shown = [_of(full, speed) for speed in (*slower, measured)]
        _print(f"{workers} workers", f"{full:.1f}", *shown, " + ".join(map(str, held)))
    full, _ = steps_per_s(net, 2, 1, "equal", 1.0, seconds, 1)
    one, _ = steps_per_s(net, 2, 1, "equal", 0.5, seconds, 1)
    _print("2 workers and a parameter server", f"{full:.1f}", _of(full, one), "", "", "")


def _of(full: float, speed: float) -> str:
    return f"{speed:.1f} ({speed / full:.2f})"


def _print(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def steps_per_s(
    net: str, workers: int, servers: int, balance: str, speed: float, seconds: float, blocks: int
) -> tuple[float, list[int]]:
    """Steps per second with the last worker at this speed, and the blocks of each at the end."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        command = [sys.executable, "-m", "trainer", "launch", f"--workers={workers}"]
        command += [
            f"--ps={servers}",
            "--",
            f"--workdir={workdir}",
            f"--config.data.balance={balance}",
            f"--config.train.reduction_blocks={blocks}",
            *_FLAGS,
            *_NETS[net],
        ]
        with Cluster(command) as cluster:
            cluster.await_line(r" train +\| ")
            with throttled(cluster.pid_of("worker", workers - 1), speed):
                time.sleep(SETTLE_S * seconds / 30)
                began, first = time.time(), _last(workdir, "train")["step"]
                time.sleep(seconds)
                ended, last = time.time(), _last(workdir, "train")["step"]
        moved = _last(workdir, "balance")
        held = [int(moved[f"worker_{rank}_blocks"]) for rank in range(workers) if moved]
        return (last - first) / (ended - began), held


def _last(workdir: pathlib.Path, event: str) -> dict[str, float]:
    """The last line of this kind in a run's metrics; empty where there is none."""
    return next(reversed([*_events(workdir, event)]), {})


def _events(workdir: pathlib.Path, event: str) -> Iterator[dict[str, float]]:
    for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if found["event"] == event:
            yield found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that no cluster is left behind.
    main()
