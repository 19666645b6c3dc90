"""How far is a sweep, and what does each running trial do? A block of lines, from the sweep's events."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from trainer.reporting import blocks
from trainer.reporting.format import format_duration, format_values, printable

_STYLES = {"failed": blocks.BAD, "stopped": blocks.NOTE}


class SweepView:
    """Feed it every event, in order; `rows` is what to show now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._started_at = clock()
        self._sweep: Mapping[str, Any] = {}
        self._first_seen: dict[str, float] = {}  # Running trials, by id.

    def feed(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "sweep":
            self._sweep = event
            running = [trial["id"] for trial in event["running"]]
            self._first_seen = {one: self._first_seen.get(one, self._clock()) for one in running}

    def rows(self, width: int, is_ascii: bool = False) -> list[RenderableType]:
        if not self._sweep:
            return []
        head = blocks.flow(self._head(), width)
        running = self._sweep["running"]
        return [*head, self._trials(running, width)] if running else [*head]

    def _head(self) -> list[Text]:
        sweep = self._sweep
        num_ended = sum(sweep["ended"].values())
        of = f"/{sweep['trials']}" if sweep["trials"] else ""
        parts = [Text(f"trials {num_ended}{of}", style="bold")]
        parts += [
            Text(f"{count} {label}", _STYLES.get(label, ""))
            for label, count in sweep["ended"].items()
        ]
        parts.append(Text(f"{len(sweep['running'])} running"))
        if sweep["best"]:
            parts.append(Text(printable(sweep["best"]), style=blocks.GOOD))
        parts.append(Text(format_duration(self._clock() - self._started_at), style=blocks.DIM))
        return parts

    def _trials(self, running: list[Mapping[str, Any]], width: int) -> Table:
        grid = Table.grid(padding=(0, 1))
        for _ in range(6):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        for trial in running:
            share = trial["epoch"] / trial["epochs"] if trial["epochs"] else 0.0
            of = f"/{trial['epochs']:.4g}" if trial["epochs"] else ""
            seconds = max(trial["seconds"], self._clock() - self._first_seen[trial["id"]])
            grid.add_row(
                printable(trial["id"]),
                blocks.bar(share, width // 2),
                f"{trial['epoch']:.4g}{of}",
                Text("  ").join(blocks.metric_parts(trial["metrics"])),
                Text(format_duration(seconds), style=blocks.DIM),
                Text(printable(format_values(trial["values"])), style=blocks.DIM),
            )
        return grid
