"""What is known of a run afterwards? `read` gathers it from the files of its workdir.

Of a run that was killed, or is still running, some of them are missing or damaged; then that part of the
history is empty.
"""

import bisect
import dataclasses
from collections.abc import Mapping
from typing import Any

from trainer.config import schema
from trainer.reporting import goodput
from trainer.reporting.goodput import TaskTime
from trainer.storage.safe_reading import parse_json, read_bytes, read_object
from trainer.storage.workdir import Workdir

# What an event of metrics.jsonl is called on a page.
EVENTS = {"train": "train", "validation": "validation", "eval": "test"}
_NO_SERIES = ("event", "step", "epoch", "time")


@dataclasses.dataclass(frozen=True)
class Series:
    """One number over a run: `points` are (step, unix time, value), by increasing step."""

    name: str
    event: str
    points: list[tuple[int, float, float]]


@dataclasses.dataclass(frozen=True)
class History:
    """A run. `summary` is empty where it has not finished, `facts` where it wrote no report itself."""

    name: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    facts: Mapping[str, Any]
    series: list[Series]
    tasks: list[TaskTime]

    @property
    def began(self) -> float:
        """The unix time of its first sign."""
        times = [event.time for task in self.tasks for event in task.events]
        times += [point[1] for one in self.series for point in one.points]
        return min(times, default=0.0)

    @property
    def evaluations(self) -> list[Series]:
        """What was measured on the validation or test examples during the run."""
        return [one for one in self.series if one.event in ("validation", "test", "evaluator")]

    def examples_at(self, step: int) -> float | None:
        """How many examples the replicas had seen together after a step; a mean where clients differ."""
        steps, count = self.summary.get("steps"), self.facts.get("shares") or []
        if not steps or not count:
            return None
        passes = self.summary["epochs"] / steps * step
        if self.config["sync.mode"] == "federated":  # An epoch is a round.
            clients = self.config["federated.clients_per_round"]
            shares = len(self.summary.get("share_sizes") or ())
            if not shares:
                return None
            passes *= clients * self.config["federated.local_epochs"] / shares
        return passes * count[0]["examples"]

    def bytes_at(self, step: int) -> float | None:
        """How many bytes one replica had sent after a step, as reported, or else evenly over the run."""
        reported = next((one.points for one in self.series if one.name == "update_bytes"), ())
        place = bisect.bisect_left(reported, step, key=lambda point: point[0])
        if place < len(reported):
            return reported[place][2]
        steps, total = self.summary.get("steps"), self.summary.get("update_bytes")
        return total / steps * step if steps and total is not None else None

    @property
    def last_step(self) -> int:
        return max((one.points[-1][0] for one in self.series if one.points), default=0)


def read(workdir: Workdir) -> History:
    """Raises WorkdirError where the folder has no run."""
    return History(
        workdir.name,
        schema.flatten(workdir.read_config()),
        workdir.read_summary(),
        read_object(workdir.report_facts),
        [*_series(workdir, "metrics"), *_series(workdir, "evaluator")],
        goodput.of_run(workdir.path),
    )


def _series(workdir: Workdir, name: str) -> list[Series]:
    """Every number that a file of metrics has, in the order in which they first appear."""
    found: dict[tuple[str, str], dict[int, tuple[int, float, float]]] = {}
    try:
        lines = read_bytes(workdir.path / f"{name}.jsonl").splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        try:
            record = parse_json(line)
            event, step, time = str(record["event"]), int(record["step"]), float(record["time"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
        event = "evaluator" if name == "evaluator" else EVENTS.get(event, event)
        for key, value in record.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if key not in _NO_SERIES and is_number and abs(value) < 1e300:
                found.setdefault((key, event), {})[step] = (step, time, float(value))
    return [
        Series(key, event, [points[step] for step in sorted(points)])
        for (key, event), points in found.items()
    ]
