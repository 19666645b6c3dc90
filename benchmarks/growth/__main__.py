"""How do speed, time and memory grow with the work?

    python -m benchmarks.growth [PART...] [--sizes=2,4]

Each part prints a table with a row for each size, smallest first, as soon as it is measured; `--sizes`
replaces the sizes of the parts that are named. With the sizes that a part has without it, on two idle
cores, they take at most:

| part | sizes | minutes |
|---|---|---|
| `workers` | workers on this machine, 64 examples each | 13 |
| `models` | millions of weights | 16 |
| `mesh` | hidden units, whose model two workers hold in parts | 10 |
| `data` | gigabytes of a sparse source; its copy needs that much disk | 60, 40 of them for 50 GB |
| `sweeps` | trials | 2 |
| `ledger` | lines | 8 |
| `checkpoints` | gigabytes of a state | 3 |

A size that does not fit, or is not done by its deadline, is shown with the reason. Rows of one table can
be compared, on a machine that does nothing else.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from benchmarks.growth import checkpoints, data, ledger, mesh, models, sweeps, workers
from benchmarks.growth.part import Part

PARTS: dict[str, Part] = {
    "workers": workers.PART,
    "models": models.PART,
    "mesh": mesh.PART,
    "data": data.PART,
    "sweeps": sweeps.PART,
    "ledger": ledger.PART,
    "checkpoints": checkpoints.PART,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"some of {', '.join(PARTS)}; all of them without any",
    )
    parser.add_argument("--sizes", type=_numbers, metavar="A,B", help="measure these alone")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.sizes and not options.parts:
        parser.error("--sizes needs the parts that it is for")
    for name in options.parts or PARTS:
        part = PARTS[name]
        print(f"\n{name}: {part.title}\n\n| {' | '.join(part.columns)} |", flush=True)
        print("|" + "---|" * len(part.columns))
        for cells in part.rows(options.sizes or part.sizes):
            print(f"| {' | '.join(cells)} |", flush=True)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted(float(one) for one in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers, such as 2,4. Received: {text}") from None
    if found[0] <= 0:
        raise argparse.ArgumentTypeError(f"numbers above 0. Received: {text}")
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that what was started is ended.
    main()
