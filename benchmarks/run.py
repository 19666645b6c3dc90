"""How fast is this trainer beside what people would use instead?

    make bench

Every peer does the same work, in a process of its own, in rounds that go through all of them, so that
a busy moment of the machine falls on each. The table shows medians, and ratios of examples a second
within this run: nothing else can be compared. A peer whose loss is not that of the others has not
done the same work, and ends the run.

What was learned: XLA fuses a matrix product into a concatenation and then computes it element by
element, 30 times slower, so gradients are flattened outside compiled code. An index that is an argument
of compiled code is compiled in, so every step would compile anew. The fused loop itself takes either
about 255 or about 510 microseconds a step at batch 64, the same code on the same quiet machine, by what
the process allocated before: holding a few unrelated arrays is enough to switch it. Both threads are then
busy for longer, which looks like the four 401,408-byte arrays of Adam's update (98 pages exactly) lying
so that they evict each other. That is not settled; `mallopt` with a larger mmap threshold did not help.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

ROUNDS = 5
BATCHES = (64, 256)
PEERS: Mapping[str, Sequence[str]] = {
    "Muster": ("muster",),
    "Keras fit, defaults": ("keras_fit", "default"),
    "Keras fit, tuned": ("keras_fit", "tuned"),
    "plain Keras loop": ("keras_loop",),
}
_TIMEOUT_S = 300.0
_LOSS_TOLERANCE = 1e-3  # Means of hundreds of float32 losses after hundreds of chaotic updates.
_OUT = pathlib.Path("runs") / "benchmarks.json"


def main() -> None:
    results = {}
    for batch in BATCHES:
        epoch = -(-60_000 // batch)
        work = {"batch": batch, "steps": min(epoch - 1, 900), "warm_up": 100}
        rounds = [{name: _run(peer, work) for name, peer in PEERS.items()} for _ in range(ROUNDS)]
        _check_same_work(rounds)
        results[batch] = {
            name: statistics.median(one[name]["examples_per_s"] for one in rounds) for name in PEERS
        }
        print(_table(batch, results[batch]), flush=True)
    _OUT.parent.mkdir(exist_ok=True)
    _OUT.write_text(json.dumps(results, indent=2) + "\n")


def _run(peer: Sequence[str], work: Mapping[str, int]) -> dict[str, float]:
    module, *args = peer
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.peers.{module}", json.dumps(work), *args],
        env=environ, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(peer)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _check_same_work(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> None:
    losses = {name: one[name]["loss"] for one in rounds for name in one}
    if max(losses.values()) - min(losses.values()) > _LOSS_TOLERANCE:
        raise SystemExit(f"the peers did not do the same work: losses {losses}")


def _table(batch: int, speeds: Mapping[str, float]) -> str:
    lines = [f"batch {batch:<21} examples/s   Muster is faster by"]
    for name, speed in speeds.items():
        lines.append(f"{name:<27} {speed:>10,.0f}   {speeds['Muster'] / speed:>10.2f} x")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
