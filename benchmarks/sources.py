"""How fast is each kind of source read, beside tf.data and PyTorch's DataLoader on the same files?

    python -m benchmarks.sources [--rows=20000] [--rounds=5] [--seconds=3] [--kinds=npz,csv]

Every peer reads all examples in a random order in batches of 64 and adds their features, as
`benchmarks/reading.py` describes. In each round all peers of a kind run in turn, in processes of their
own. The table has the median of all timed epochs, in rows a second. Sums that differ end the run. What is
left out has no reader in that library.
"""

import argparse
import pathlib
import statistics
import tempfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from benchmarks import environments, processes
from benchmarks.reading import Reading
from tests import source_files

BATCH, CLASSES = 64, 10
KINDS = ("npz", "npy", "csv", "parquet", "jsonl", "tfrecord", "arrayrecord", "images")
# Name, module, its argument, the environment, and the kinds that it does not read.
PEERS = (
    ("Muster, resident", "read_muster", ("resident",), environments.MUSTER, ()),
    ("Muster, mapped", "read_muster", ("mapped",), environments.MUSTER, ()),
    ("tf.data", "read_tf_data", (), environments.MUSTER, ("arrayrecord",)),
    ("PyTorch DataLoader", "read_torch", (), "torch_files",
     ("parquet", "jsonl", "tfrecord", "arrayrecord")),
)  # fmt: skip


class SumsDiffer(Exception):
    """Peers did not read the same examples."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources")
    parser.add_argument("--rows", type=int, default=20_000, help="examples in each source")
    parser.add_argument("--rounds", type=int, default=5, help="how often all peers run")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed in each of them")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {','.join(KINDS)}")
    options = parser.parse_args(argv)
    print("| rows a second |", *(f"{peer[0]} |" for peer in PEERS))
    print("|---|" + "---|" * len(PEERS))
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = write(kind, pathlib.Path(folder), options.rows)
            reading = Reading(kind, path, options.rows, BATCH, options.seconds)
            found = measure(reading, options.rounds)
        cells = [f"{found[peer[0]]:,.0f} |" if peer[0] in found else "– |" for peer in PEERS]
        print(f"| {kind} |", *cells, flush=True)


def measure(reading: Reading, rounds: int) -> dict[str, float]:
    """Rows a second by the peer's name. Raises SumsDiffer."""
    slices: dict[str, list[float]] = {}
    totals: dict[str, float] = {}
    for _ in range(rounds):
        for name, module, arguments, environment, missing in PEERS:
            if reading.kind in missing:
                continue
            python = environments.python(environment)
            command = processes.module(python, module, reading.to_arg(), *arguments)
            result = processes.run(command, deadline_s=300 + 10 * reading.min_seconds)
            slices.setdefault(name, []).extend(result["slices"])  # type: ignore[arg-type]
            totals[name] = result["total"]
            if result["total"] != next(iter(totals.values())):
                raise SumsDiffer(f"{reading.kind}: {totals}")
    return {name: statistics.median(own) for name, own in slices.items()}


def write(kind: str, folder: pathlib.Path, rows: int) -> str:
    """Writes the source, with few rows to test on. Returns the path of those that are read."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, rows)
    if kind == "images":
        _pictures(folder / "test", np.arange(CLASSES))
        return str(_pictures(folder / "train", labels))
    shape = (28, 28) if kind in ("npz", "npy") else (64,)
    dtype = np.uint8 if len(shape) == 2 else np.float32
    features = random.integers(0, 256, (rows, *shape)).astype(dtype)
    few = {"x_test": features[:CLASSES], "y_test": labels[:CLASSES]}
    source = source_files.FORMATS[kind](folder, {"x_train": features, "y_train": labels, **few})
    return source.partition(":")[2].partition(",")[0]


def _pictures(folder: pathlib.Path, labels: np.ndarray) -> pathlib.Path:
    random = np.random.default_rng(1)
    for place, label in enumerate(labels):
        path = folder / f"class{label}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(path)
    return folder


if __name__ == "__main__":
    main()
