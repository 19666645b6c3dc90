"""How is the config.json of an older or a newer program read?

`values` returns the fields of a config.json of any format up to `schema.FORMAT`, and refuses a newer one.
The policy:

- config.json has its format at the top, `"format": 1`. Without it the file has format 0, which version
  0.1.0 wrote; it has the same fields as format 1.
- A new field raises `FORMAT` by one, and its `option` says `since=FORMAT`. An older file lacks the field
  and is read with its default, so choose a default that does what older programs did.
- Where no default does, the `option` also says `incompatible="the reason"`, and an older file is refused
  with that reason.
- A field that is renamed, removed or changes its meaning raises `FORMAT` too; this module then translates
  or refuses older files. No other module knows about formats.
- Every field that the file's format has must be in the file, and no other: a config.json is complete.
- A format newer than `FORMAT` is refused.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from trainer import __version__
from trainer.config import fields as fields_lib
from trainer.config.fields import ConfigError, Field, Schema, short_json
from trainer.config.schema import FORMAT, ExperimentConfig

UNCHANGED = "use the config.json of a run unchanged"


def values(text: str) -> dict[str, Any]:
    """The values in a config.json by dotted name, not yet checked.

    Raises:
      ConfigError: it is not JSON, has a newer format, or has unknown or missing fields.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or too long a number.
        raise ConfigError(
            f"a config must be JSON, but {error or 'it is nested too deeply'}. Received: "
            f"{short_json(text)}; {UNCHANGED}."
        ) from None
    if not isinstance(tree, dict):
        raise _not_an_object("the config", tree)
    fields = {name: value for name, value in tree.items() if name != "format"}
    found_format = _format(tree.get("format", 0))
    return _translated(flatten(ExperimentConfig, fields, found_format), found_format)


def _translated(found: dict[str, Any], found_format: int) -> dict[str, Any]:
    """The values by the meaning that fields have now."""
    if found_format < 2 and found["sync.mode"] == "async":
        # It was the name of windows, and a loop was one.
        steps = found["train.steps_per_loop"]
        return found | {"sync.mode": "async_window", "sync.window_steps": steps}
    return found


def _format(found: Any) -> int:
    if type(found) is not int or found < 0:
        raise ConfigError(
            f"`format` must be an integer from 0 to {FORMAT}. Received: {short_json(found)}; "
            f"{UNCHANGED}."
        )
    if found > FORMAT:
        raise ConfigError(
            f"`format` must be at most {FORMAT} for muster {__version__}. Received: {short_json(found)}, "
            "written by a newer version; upgrade muster, or start a new run in another folder."
        )
    return found


def flatten(
    schema: type[Schema], tree: Mapping[str, Any], found_format: int, prefix: str = ""
) -> dict[str, Any]:
    """The values of a JSON object by dotted name, without the fields that its format did not have.

    Raises:
      ConfigError: a field is unknown or missing, or a section is not an object.
    """
    if not isinstance(tree, dict):
        raise _not_an_object(f"`{prefix[:-1]}`", tree)
    own = {field.name: field for field in fields_lib.fields(schema, prefix)}
    members = {field.name: field for field in dataclasses.fields(schema)}
    for name in tree:
        if name not in members:
            raise fields_lib.unknown(prefix + name, own, tree[name])
    found = {}
    for name, member in members.items():
        section = fields_lib.section_schema(member)
        if name in tree and not section:
            found[prefix + name] = tree[name]
        elif name in tree and section:
            found |= flatten(section, tree[name], found_format, f"{prefix}{name}.")
        else:
            whole = prefix + name
            missing = [own[one] for one in own if one == whole or one.startswith(f"{whole}.")]
            _check_may_be_missing(whole, missing, found_format, tree)
    return found


def _check_may_be_missing(
    name: str, missing: list[Field], found_format: int, tree: Mapping[str, Any]
) -> None:
    """Raises ConfigError unless the file's format did not have the missing fields yet."""
    if not all(field.since > found_format for field in missing):
        raise ConfigError(
            f"`{name}` is missing. Received: {short_json(sorted(tree))}; {UNCHANGED}."
        )
    for field in missing:
        if field.incompatible:
            raise ConfigError(
                f"`{field.name}` is missing: {field.incompatible}. Received: a config.json of format "
                f"{found_format}; start a new run in another folder."
            )


def _not_an_object(what: str, found: Any) -> ConfigError:
    return ConfigError(f"{what} must be a JSON object. Received: {short_json(found)}; {UNCHANGED}.")
