"""What is said of a setting that makes no sense beside another?

A `Refusal` is a row of the table in `combinations.py`.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig, flatten

Flat = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A field, and what it must be under a condition.

    Attributes:
      field: its dotted name.
      must: the rule in words, after "must be".
      allows: whether the field may have a value; it gets all values too.
      when: whether the rule applies to a config.
      where: the condition in words, such as "with `sync.mode` federated"; may name fields as {sync.mode}.
      reason: why, after "as".
      fix: what to do.
    """

    field: str
    must: str
    allows: Callable[[Any, Flat], bool]
    when: Callable[[Flat], bool]
    where: str
    reason: str
    fix: str

    def check(self, flat: Flat) -> None:
        value = flat[self.field]
        if self.when(flat) and not self.allows(value, flat):
            where = re.sub(r"\{([\w.]+)\}", lambda found: str(flat[found[1]]), self.where)
            raise ConfigError(
                f"`{self.field}` must be {self.must} {where}, as {self.reason}. Received: "
                f"{short_json(value)}; {self.fix}."
            )


def mode_in(*modes: str) -> Callable[[Flat], bool]:
    """The condition that `sync.mode` is one of these."""
    return lambda flat: flat["sync.mode"] in modes


def mode_not_in(*modes: str) -> Callable[[Flat], bool]:
    return lambda flat: flat["sync.mode"] not in modes


def only(*values: Any) -> Callable[[Any, Flat], bool]:
    return lambda value, flat: value in values


def default(name: str) -> Callable[[Any, Flat], bool]:
    """Only the default of the field of this name."""
    return only(flatten(ExperimentConfig())[name])


def left_out(field: str, *modes: str) -> Refusal:
    """The row of a field that only these modes read."""
    return Refusal(
        field,
        "left out",
        default(field),
        mode_not_in(*modes),
        "with `sync.mode` {sync.mode}",
        "that mode does not read it",
        f"leave it out, or set --config.sync.mode={modes[0]}",
    )
