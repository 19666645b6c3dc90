"""How fast is this trainer beside what people would use instead?

    make bench
    make bench ARGS="--tables=one_process,two_workers --rounds=3"

Every peer does the same work, in processes of its own. Each round runs all peers in turn, so that a busy
moment of the machine affects all of them, and times each in short slices. Who knows a faster way to use a
peer adds it to `benchmarks/ways.py`, which tries all ways of a peer. The tables show medians of
slices, and ratios within this run: nothing else can be compared. A peer that fails is shown with its
reason. A peer whose loss differs from the others' has not done the same work, and ends the run.

What profiles showed (two cores, and batch 64 unless stated):

- XLA fuses a matrix product into a concatenation and then computes it element by element, 30 times
  slower, so gradients are flattened outside compiled code. A slice's index that is an argument of
  compiled code is compiled in, so every step would compile anew; a gather's is not.
- Half of a step, 250 of 500 us, was page faults: the C library gave XLA's packing buffers back to
  the kernel after each product. Whether it did depended on what was allocated before
  (strategies/devices/malloc.py).
- The remaining 245 us are 95 and 62 in the two large products (NumPy's BLAS: 90 and 76), 32 in
  Adam's three sweeps, 16 in converting uint8, 23 in the small products, and some 40 kernels of
  under 3 us. JAX compiles to the same kernels, and is given floats in order, which it need not
  gather or convert.
- A quotient by the batch's size was a sweep over all gradients; as a product XLA folds it into
  Adam's.
- With one thread for each operation, four blocks and AVX2, a step is 600 us: 160 in the forward
  products of the large layer, 196 in those of its gradients, which write 400 kB for each block, and
  116 in Adam's sweeps.
- What did not make that faster with equal bits on two cores: XLA's xla_cpu_multi_thread_eigen=false
  changes neither speed nor bits. Its YNNPACK products have the same bits and speed, and a gradient's
  product stays Eigen's. Products cut so small that Eigen gives each one thread have equal bits on 1
  and 2 threads, but take 730 us on one and 520 to 1,050 on two: where few operations are ready, XLA's
  executor leaves a core idle. Blocks in a compiled call for each core take 1,090 us, as the calls of a
  step cost 0.4 ms; with 256 and 1,024 examples the program was 1.01 to 1.29 times as fast with both
  cores to itself, and 0.64 to 0.90 times beside other work.
- Two workers: an all-reduce of 400 kB through TensorFlow takes 1 to 2.5 ms, a swap over a socket
  0.13. A step takes 870 us: 500 in the compiled function (350 of them arithmetic), 140 in the
  exchange, 80 in calling Python from the graph, the rest in TensorFlow's executor. State held in
  variables, updated in place, beats state carried round the loop by a sixth. Slicing inside
  compiled code was slower.
- At 1,024 examples a worker the same 1.2 ms are added to 5.0 ms of arithmetic, which is why weak
  scaling ends near 0.8. The cores are not the reason: two workers that exchange nothing reach 0.98.
- A sweep's trial of 232 steps was 4.9 s as a process of its own: 2.8 of them imports, which a warm
  process makes once, and 1.1 compiling, which XLA's cache on the disk saves where only numbers
  differ: 1.6 s.
- Parameter servers: a closure costs 15 ms of processor time, however little it does, so it does a
  window.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks import environments, processes, report
from benchmarks.tables import MAX_EPOCHS, TABLES, Column, Peer, Table
from benchmarks.work import Work

ROUNDS = 5


def main(argv: Sequence[str] | None = None, tables: Sequence[Table] = TABLES) -> None:
    options = _options(argv, tables)
    chosen = [table for table in tables if table.name in options.tables]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        files = _prepare(folder, chosen)
        for table in chosen:
            results[table.name] = table, measure(table, files, options.rounds)
            print(*report.lines(table, results[table.name][1]), sep="\n", flush=True)
            report.save(options.out, results, options.rounds)  # So far: what follows may fail.
    print(*report.aim_lines(report.aims(results)), sep="\n")


def _options(argv: Sequence[str] | None, tables: Sequence[Table]) -> argparse.Namespace:
    names = [table.name for table in tables]

    def several(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(names)
        if unknown:
            raise argparse.ArgumentTypeError(f"no such table: {', '.join(sorted(unknown))}")
        return text.split(",")

    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--tables", type=several, default=names, help=f"some of {','.join(names)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often all peers run")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("runs", "benchmarks.json"), metavar="FILE"
    )
    return parser.parse_args(argv)


def _prepare(folder: str, tables: Sequence[Table]) -> dict[int, str]:
    """The file with the work, by the number of examples in its epoch."""
    files = {}
    for num_examples in {column.num_examples for table in tables for column in table.columns}:
        # In a process of its own: a child's peak memory starts at its parent's.
        subprocess.run(
            [sys.executable, "-m", "benchmarks.prepare", folder, str(num_examples), str(MAX_EPOCHS)],
            check=True, capture_output=True,
        )  # fmt: skip
        files[num_examples] = str(pathlib.Path(folder, f"work-{num_examples}.npz"))
    return files


def measure(table: Table, files: Mapping[int, str], rounds: int) -> report.Cells:
    """By column and peer, the results of each round. Raises DifferentWork."""
    cells = {
        column.name: {peer.name: {"rounds": [], "failure": ""} for peer in table.peers}
        for column in table.columns
    }
    for number in range(rounds):
        began = time.monotonic()
        for column in table.columns:
            if number < column.max_rounds:
                _measure_column(table, column, files[column.num_examples], cells[column.name])
        seconds = time.monotonic() - began
        print(f"{table.name}: round {number + 1} of {rounds} took {seconds:.0f} s", file=sys.stderr)
    return cells


def _measure_column(table: Table, column: Column, file: str, cells: dict[str, report.Cell]) -> None:
    """One round of one column."""
    found: dict[Work, dict[str, dict[str, float]]] = {}
    for peer in table.peers:
        cell = cells[peer.name]
        if cell["failure"] and not cell["rounds"]:
            continue  # It never ran, and would only take time to fail again.
        batch = column.batch_per_worker * peer.replicas
        work = Work(file, batch, column.epochs, column.min_seconds)
        where = f"{table.name}, {column.name}, {peer.name}"
        began = time.monotonic()
        try:
            one = run_peer(peer, work, table.deadline_s)
        except (processes.PeerFailed, environments.EnvironmentFailed) as failure:
            cell["failure"] = str(failure)
            print(f"{where}: {failure}", file=sys.stderr)
            continue
        seconds = time.monotonic() - began
        print(f"{where}: {one[table.value]:,.2f}, in {seconds:.0f} s", file=sys.stderr)
        cell["rounds"].append(one)
        found.setdefault(work, {})[peer.name] = one
    for losses in found.values():
        report.check_same_work(table, losses)


def run_peer(peer: Peer, work: Work, deadline_s: float) -> dict[str, float]:
    """The results of one peer. Raises PeerFailed or EnvironmentFailed."""
    python = environments.python(peer.environment)
    command = processes.module(python, peer.module, work.to_arg(), *peer.args)
    return processes.run(command, peer.jobs, peer.pinned, deadline_s)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # On exit peers are ended.
    try:
        main()
    except report.DifferentWork as error:
        sys.exit(str(error))
