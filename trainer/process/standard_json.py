"""How is a value written for other programs? As standard JSON, without NaN and infinity."""

import json
import math
from typing import Any


def to_json(value: Any, indent: int | None = None) -> str:
    """The value as standard JSON: NaN and infinity, which JSON does not have, are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
