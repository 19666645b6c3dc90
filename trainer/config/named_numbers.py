"""What does a field say that is a list of names with numbers, such as 3:10,5:2.5?

`parse` reads `NAME:NUMBER,...`; a number may be left out, and braces and quotes around names, as of a
Python dictionary, are ignored.
"""

import math

from trainer.config.fields import ConfigError, short_json


def parse(field: str, text: str, example: str) -> dict[str, float | None]:
    """Each name with its number; None where it has none. Raises ConfigError."""
    found: dict[str, float | None] = {}
    inner = text.strip().removeprefix("{").removesuffix("}")
    for part in inner.removesuffix(",").split(","):
        name, colon, number = part.partition(":")
        name = name.strip().strip("'\"")
        try:
            value = float(number) if colon else None
        except ValueError:
            value = math.nan
        if not name or name in found or (value is not None and not math.isfinite(value)):
            reason = f"{name} twice" if name in found else short_json(part.strip())
            raise ConfigError(
                f"`{field}` must be names with numbers, as in {example}. Received: {reason} in "
                f"{short_json(text)}; correct it."
            )
        found[name] = value
    return found
