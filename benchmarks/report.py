"""What do the rounds show, for people and for other programs?

The report has medians over all rounds, ratios of medians within this run, and the aims. Nothing measured
in one run can be compared with what was measured in another.
"""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import environments
from benchmarks.aims import AIMS, Aim
from benchmarks.tables import Table

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_NAME = 38

# The results of one table: by column and peer, the rounds that completed, and the last failure.
Cell = dict[str, Any]
Cells = Mapping[str, Mapping[str, Cell]]


class DifferentWork(Exception):
    """Peers of one column ended at different losses, so they did not do the same work."""


def median(cell: Cell, value: str) -> float | None:
    """The median of one value over a cell's rounds, or over all their slices; None without any."""
    found = values(cell, value)
    return statistics.median(found) if found else None


def values(cell: Cell, value: str) -> list[float]:
    """The measured values: each timed slice of every round, or one result a round."""
    rounds = cell["rounds"]
    if value == "examples_per_s" and all("slices" in one for one in rounds):
        return [speed for one in rounds for speed in one["slices"]]
    return [one[value] for one in rounds if value in one]


def check_same_work(table: Table, losses: Mapping[str, Mapping[str, float]]) -> None:
    """Raises DifferentWork unless all results of one round of one work agree.

    Args:
      table: says how far losses may differ.
      losses: by peer, its results; a peer without a loss, such as the floor, is left out.
    """
    tolerances = {"first_loss": table.first_loss_tolerance, "loss": table.loss_tolerance}
    for value, tolerance in tolerances.items():
        found = {name: one[value] for name, one in losses.items() if value in one}
        # Each with each: a loss that is not a number agrees with none, itself included.
        if not all(abs(a - b) <= tolerance for a in found.values() for b in found.values()):
            shown = ", ".join(f"{name} {loss:.5f}" for name, loss in found.items())
            raise DifferentWork(
                f"the peers of {table.name} did not do the same work: `{value}` differs by more "
                f"than {tolerance:g}: {shown}"
            )


def lines(table: Table, cells: Cells) -> Iterator[str]:
    """The table, as it is printed."""
    yield table.title
    for column, peers in cells.items():
        memory = "   peak MiB" if table.shows_memory else ""
        yield f"{column:<{_NAME}}     median        min        max   Muster is faster by{memory}"
        reference = median(peers[table.peers[0].name], table.value)
        for name, cell in peers.items():
            yield _line(table, name, cell, reference)
        yield ""


def _line(table: Table, name: str, cell: Cell, reference: float | None) -> str:
    middle = median(cell, table.value)
    if middle is None:
        return f"{name:<{_NAME}} not run: {cell['failure']}"
    found = values(cell, table.value)
    shown = "".join(f" {_number(value)}" for value in (middle, min(found), max(found)))
    ratio = reference and (reference / middle if table.higher else middle / reference)
    shown += f"{ratio:>20.2f} x" if ratio else " " * 22
    peak = median(cell, "peak_mib") if table.shows_memory else None
    shown += f"{peak:>11,.0f}" if peak else ""
    return f"{name:<{_NAME}}{shown}" + (f"   once: {cell['failure']}" if cell["failure"] else "")


def _number(value: float) -> str:
    return f"{value:>10,.0f}" if value >= 100 else f"{value:>10.2f}"


def aims(results: Mapping[str, tuple[Table, Cells]]) -> list[dict[str, Any]]:
    """For each aim its ratio, None where a peer is missing, and whether it was reached."""
    found = []
    for aim in AIMS:
        ratio = _ratio(aim, results)
        found.append(
            {"aim": aim.what, "bound": _bound(aim), "ratio": ratio, "reached": _reached(aim, ratio)}
        )
    return found


def _ratio(aim: Aim, results: Mapping[str, tuple[Table, Cells]]) -> float | None:
    if aim.table not in results:
        return None
    table, cells = results[aim.table]
    over, under = (
        median(cells[column][peer], table.value) for column, peer in (aim.over, aim.under)
    )
    return aim.factor * over / under if over and under else None


def _bound(aim: Aim) -> str:
    if aim.at_least is not None:
        return f"at least {aim.at_least:g}"
    return f"at most {aim.at_most:g}" if aim.at_most is not None else "none set"


def _reached(aim: Aim, ratio: float | None) -> bool | None:
    if ratio is None or aim.at_least is aim.at_most is None:
        return None
    if aim.at_least is not None:
        return ratio >= aim.at_least
    return aim.at_most is not None and ratio <= aim.at_most


def aim_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'Aims':<{_NAME + 22}} {'bound':<14}  ratio"
    words = {True: "reached", False: "not reached", None: ""}
    for one in found:
        ratio = "not run" if one["ratio"] is None else f"{one['ratio']:7.2f} x"
        yield f"{one['aim']:<{_NAME + 22}} {one['bound']:<14} {ratio}   {words[one['reached']]}".rstrip()


def save(path: pathlib.Path, results: Mapping[str, tuple[Table, Cells]], rounds: int) -> None:
    """Writes every round's numbers with the machine, versions and commit that they belong to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "commit": _git("rev-parse", "HEAD"),
        "is_dirty": bool(_git("status", "--porcelain")),
        "rounds": rounds,
        "tables": {name: cells for name, (_, cells) in results.items()},
        "aims": aims(results),
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def machine() -> dict[str, Any]:
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "system": platform.platform(),
    }


def versions() -> dict[str, Any]:
    own = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    return {"python": platform.python_version(), **own, **environments.PINS}


def _first(path: str, field: str) -> str:
    try:
        found = [line for line in pathlib.Path(path).read_text().splitlines() if field in line]
    except OSError:
        return ""
    return found[0].partition(":")[2].strip() if found else ""


def _git(*args: str) -> str:
    try:
        done = subprocess.run(
            ["git", *args], cwd=_ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()
