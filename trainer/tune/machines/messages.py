"""Which messages may a sweep's server and its clients send to each other?

What another machine sent is parsed here, and anything invalid raises ProtocolError: a trial's id becomes
the name of a folder, its flags a command line, and its error a line on a screen.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from strategies.network.connection import Message, ProtocolError
from strategies.network.wire_text import printable_line
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec
from trainer.tune.space.dimension import FLAGS

_ID_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_FLAG_PATTERN = re.compile(r"(--[a-z_]+)=[!-~]{0,200}")
_MAX_FLAGS, _MAX_METRICS, _MAX_TEXT = 100, 1000, 1000


def to_json(value: TrialSpec | Progress | Outcome) -> Message:
    """The value as JSON."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def parse_trial_spec(received: Any) -> TrialSpec:
    received = _parse_mapping(received)
    flags = received.get("flags")
    if not isinstance(flags, list) or len(flags) > _MAX_FLAGS:
        raise ProtocolError
    continues = received.get("continues")
    return TrialSpec(
        parse_trial_id(received.get("id")),
        _parse_mapping(received.get("config")),
        tuple(map(_parse_flag, flags)),
        parse_trial_id(continues) if continues else "",
    )


def parse_progress(received: Any) -> Progress:
    received = _parse_mapping(received)
    return Progress(
        _parse_count(received.get("step")),
        _parse_nonnegative(received.get("epoch")),
        _parse_metrics(received.get("metrics")),
    )


def parse_outcome(received: Any) -> Outcome:
    received = _parse_mapping(received)
    if received.get("status") not in (COMPLETED, STOPPED, FAILED):
        raise ProtocolError
    return Outcome(
        received["status"],
        _parse_metrics(received.get("metrics")),
        _parse_count(received.get("step")),
        _parse_nonnegative(received.get("epoch")),
        parse_line(received.get("error")),
        parse_seconds(received.get("seconds")),
    )


def parse_trial_id(received: Any) -> str:
    if not isinstance(received, str) or not _ID_PATTERN.fullmatch(received):
        raise ProtocolError
    return received


def parse_seconds(received: Any) -> float:
    return _parse_nonnegative(received)


def parse_line(received: Any) -> str:
    """The text as one printable line of at most 1000 characters."""
    if not isinstance(received, str):
        raise ProtocolError
    return printable_line(received, _MAX_TEXT)


def _parse_flag(received: Any) -> str:
    match = _FLAG_PATTERN.fullmatch(received) if isinstance(received, str) else None
    # Only flags for the shape of a trial's cluster. The server must not decide where a client writes,
    # which recipe it executes or which files it reads.
    if not match or match[1] not in FLAGS:
        raise ProtocolError
    return received


def _parse_metrics(received: Any) -> dict[str, float]:
    received = _parse_mapping(received)
    if len(received) > _MAX_METRICS:
        raise ProtocolError
    return {parse_line(name): _parse_number(value) for name, value in received.items()}


def _parse_mapping(received: Any) -> Mapping[str, Any]:
    if not isinstance(received, dict):
        raise ProtocolError
    return received


def _parse_count(received: Any) -> int:
    if type(received) is not int or not 0 <= received < 2**63:
        raise ProtocolError
    return received


def _parse_nonnegative(received: Any) -> float:
    number = _parse_number(received)
    if not math.isfinite(number) or number < 0:
        raise ProtocolError
    return number


def _parse_number(received: Any) -> float:
    """A float. NaN and infinities are valid, as metrics may have them."""
    if type(received) not in (int, float):
        raise ProtocolError
    try:
        return float(received)
    except OverflowError:
        raise ProtocolError from None
