"""Which flags does `plan` have, and what do their values mean? As `options.py`, which lists all verbs."""

import dataclasses
import re
from typing import ClassVar

from trainer.cli.option_groups import OverrideOptions
from trainer.config.fields import ConfigError, option, short_json

_MAX_WORKERS = 1 << 16
_UNITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([a-z]+)")


@dataclasses.dataclass(frozen=True)
class PlanOptions(OverrideOptions):
    """Estimate how fast N workers would train in each mode of agreement, from a measurement here."""

    verb: ClassVar[str] = "plan"
    config: str = option(
        "digits_dense", "a recipe, the path of a recipe, or the config.json of an earlier run"
    )
    workers: str = option(
        "1..64",
        "numbers of workers, as in 1,2,6; 1..64: the powers of two from 1 to 64",
        metavar="NUMBERS",
    )
    bandwidth: str = option(
        "1gbit",
        "of each worker's link in each direction, as in 100mbit or 10gbit",
        metavar="RATE",
    )
    latency: str = option(
        "0.1ms", "one way between two workers, as in 50us or 20ms", metavar="TIME"
    )
    batch: str = option(
        "shared",
        "shared: the workers divide the config's global batch; each: every worker has a batch of that "
        "size, so that the global batch grows with their number",
        choices=("shared", "each"),
    )
    ps: int = option(1, "number of parameter servers of async_window", least=1)
    modes: str = option(
        "",
        "the columns, as in gradients,parameters:int8; default: all modes that the config allows, and "
        "parameters with each compression",
        metavar="NAMES",
    )
    accuracy: str = option(
        "",
        "also train the config here with N logical replicas, in each mode that has them, and "
        "report the accuracy; numbers as in --workers",
        metavar="NUMBERS",
    )
    workdir: str = option(
        "",
        "folder for the runs of --accuracy; the same command with the same folder resumes; default: a "
        "new folder under runs/",
        metavar="DIR",
    )
    json: bool = option(False, "print the plan as JSON instead of a table")
    output: str = option("", "file to write that JSON to", metavar="FILE")

    def check(self) -> None:
        """Raises ConfigError where a value has no meaning."""
        _ = self.worker_counts, self.bits_per_s, self.latency_s, self.accuracy_counts

    @property
    def worker_counts(self) -> tuple[int, ...]:
        return _numbers("workers", self.workers)

    @property
    def accuracy_counts(self) -> tuple[int, ...]:
        return _numbers("accuracy", self.accuracy) if self.accuracy else ()

    @property
    def bits_per_s(self) -> float:
        return _quantity("bandwidth", self.bandwidth, _UNITS, "100mbit")

    @property
    def latency_s(self) -> float:
        return _quantity("latency", self.latency, _SECONDS, "0.1ms")


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """Those of "1,3" in order, and the powers of two of "1..64"."""
    found: set[int] = set()
    for part in text.split(","):
        low, dots, high = part.strip().partition("..")
        if not (_is_number(low) and (_is_number(high) if dots else True)):
            found = set()
            break
        first, last = int(low), int(high or low)
        powers = {1 << power for power in range(first.bit_length(), last.bit_length())}
        found |= {first, last, *powers}
        if last < first:
            found = set()
            break
    if not found:
        raise ConfigError(
            f"`--{flag}` must be numbers from 1 to {_MAX_WORKERS}, or a range of them. Received: "
            f"{short_json(text)}; try --{flag}=1,2,4 or --{flag}=1..64."
        )
    return tuple(sorted(found))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _MAX_WORKERS


def _quantity(flag: str, text: str, units: dict[str, float], example: str) -> float:
    match = _QUANTITY.fullmatch(text.lower())
    value = float(match[1]) * units.get(match[2], 0.0) if match else 0.0
    if not value:
        raise ConfigError(
            f"`--{flag}` must be a number above 0 and one of {', '.join(units)}. Received: "
            f"{short_json(text)}; try --{flag}={example}."
        )
    return value
