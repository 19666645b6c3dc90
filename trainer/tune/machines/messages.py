"""What may a sweep's chief and its clients say to each other?

What comes from another machine is taken apart here, and what is not as it must be raises ProtocolError: a
trial's id becomes a folder's name, its flags a command line, its error a line on a screen.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from strategies.network.connection import Message, ProtocolError
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec
from trainer.tune.space.dimension import FLAGS

_IS_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_IS_FLAG = re.compile(r"(--[a-z_]+)=[!-~]{0,200}")
_MAX_FLAGS, _MAX_METRICS, _MAX_TEXT = 100, 1000, 1000


def spelled(value: TrialSpec | Progress | Outcome) -> Message:
    """The value as JSON."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def assignment(said: Any) -> TrialSpec:
    said = _mapping(said)
    flags = said.get("flags")
    if not isinstance(flags, list) or len(flags) > _MAX_FLAGS:
        raise ProtocolError
    continues = said.get("continues")
    return TrialSpec(
        trial_id(said.get("id")),
        _mapping(said.get("config")),
        tuple(map(_flag, flags)),
        trial_id(continues) if continues else "",
    )


def progress(said: Any) -> Progress:
    said = _mapping(said)
    return Progress(
        _count(said.get("step")), _span(said.get("epoch")), _metrics(said.get("metrics"))
    )


def outcome(said: Any) -> Outcome:
    said = _mapping(said)
    if said.get("status") not in (COMPLETED, STOPPED, FAILED):
        raise ProtocolError
    return Outcome(
        said["status"],
        _metrics(said.get("metrics")),
        _count(said.get("step")),
        _span(said.get("epoch")),
        line(said.get("error")),
        seconds(said.get("seconds")),
    )


def trial_id(said: Any) -> str:
    if not isinstance(said, str) or not _IS_ID.fullmatch(said):
        raise ProtocolError
    return said


def seconds(said: Any) -> float:
    return _span(said)


def line(said: Any) -> str:
    """A text as one line that does no harm on a screen, cut where it is long."""
    if not isinstance(said, str):
        raise ProtocolError
    shown = "".join(
        one if one.isprintable() else " " for one in " ".join(said[: 4 * _MAX_TEXT].split())
    )
    return shown if len(shown) <= _MAX_TEXT else shown[: _MAX_TEXT - 3] + "..."


def _flag(said: Any) -> str:
    match = _IS_FLAG.fullmatch(said) if isinstance(said, str) else None
    # They say of what shape the trial is. Where it writes, which recipe it executes and which files it
    # reads is not the chief's to say.
    if not match or match[1] not in FLAGS:
        raise ProtocolError
    return said


def _metrics(said: Any) -> dict[str, float]:
    said = _mapping(said)
    if len(said) > _MAX_METRICS:
        raise ProtocolError
    return {line(name): _number(value) for name, value in said.items()}


def _mapping(said: Any) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        raise ProtocolError
    return said


def _count(said: Any) -> int:
    if type(said) is not int or not 0 <= said < 2**63:
        raise ProtocolError
    return said


def _span(said: Any) -> float:
    number = _number(said)
    if not math.isfinite(number) or number < 0:
        raise ProtocolError
    return number


def _number(said: Any) -> float:
    """A float, be it NaN, as a metric may well be."""
    if type(said) not in (int, float):
        raise ProtocolError
    try:
        return float(said)
    except OverflowError:
        raise ProtocolError from None
