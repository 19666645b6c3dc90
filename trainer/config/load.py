"""Which config do a recipe and the command line make together?

`resolve` takes the recipe's config, or a config.json, and sets the fields that were given as
`--config.SECTION.FIELD=VALUE`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config import fields as fields_lib
from trainer.config import json_format, recipes
from trainer.config.data_schema import ALIASES
from trainer.config.fields import ConfigError
from trainer.config.rules import validate
from trainer.config.schema import ExperimentConfig, fields, flatten

# What only a recipe with a model of its own may define.
_WITH_A_MODEL = ("get_data", "get_loss", "get_metrics", "get_optimizer", "augment")


def resolve(name_or_path: str, overrides: Mapping[str, str] | None = None) -> ExperimentConfig:
    """The valid config of a recipe with the overrides of the command line.

    Args:
      name_or_path: the name of a recipe in `configs/`, the path of a recipe, or the path of the
        config.json of an earlier run.
      overrides: values as they were typed, by dotted name: {"data.global_batch_size": "128"}.

    Raises:
      ConfigError: the recipe does not exist or fails, or a field is unknown or invalid.
    """
    path = recipes.find(name_or_path)
    values = _values(path) | _parsed(overrides or {})
    values["name"] = values["name"] or path.stem
    config = fields_lib.build(ExperimentConfig, values)
    validate(config)
    return config


def override(config: ExperimentConfig, overrides: Mapping[str, str]) -> ExperimentConfig:
    """The config with some fields set as on the command line. Raises ConfigError."""
    changed = fields_lib.build(ExperimentConfig, flatten(config) | _parsed(overrides))
    validate(changed)
    return changed


def from_json(text: str) -> ExperimentConfig:
    """The valid config in a config.json, of this format or an older one.

    Raises:
      ConfigError: it is not JSON, has a newer format, or a field is missing, unknown or invalid.
    """
    config = fields_lib.build(ExperimentConfig, json_format.values(text))
    validate(config)
    return config


def _values(path: Path) -> dict[str, Any]:
    """The values of a recipe or a JSON file by dotted name, not yet checked."""
    if path.suffix == ".json":
        try:
            return json_format.values(recipes.read(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    recipe = recipes.load(path)
    config = recipes.run(path)
    if not isinstance(config, ExperimentConfig):
        raise ConfigError(
            f"`get_config` of {path} must return an ExperimentConfig. Received: "
            f"{fields_lib.short_json(config)}; return one."
        )
    values = flatten(config)
    own = [name for name in _WITH_A_MODEL if recipe.defines(name)]
    if recipe.defines("get_model"):
        values["recipe"] = values["recipe"] or str(path.resolve())
    elif own:
        raise ConfigError(
            f"recipe {path} must define `get_model(config, data)` beside `{own[0]}`. Received: none; "
            "define it, or describe model and data in the config."
        )
    return values


def _parsed(given: Mapping[str, str]) -> dict[str, Any]:
    known = {field.name: field for field in fields()}
    overrides = dict(_own_name(name, text) for name, text in given.items())
    for name, text in overrides.items():
        if name not in known:
            raise unknown_override(name, text)
    return {name: known[name].parse(text) for name, text in overrides.items()}


def _own_name(name: str, text: str) -> tuple[str, str]:
    """The field that is meant by an alias, and the value."""
    field, values = ALIASES.get(name, (name, {}))
    return field, values.get(text, text)


def unknown_override(name: str, text: str) -> ConfigError:
    """The error for an override of a name that is not a config field."""
    known = [field.name for field in fields()]
    inside = [field for field in known if field.startswith(f"{name}.")]
    if inside:
        return ConfigError(
            f"`{name}` is a section of the config. Received: {fields_lib.short_json(text)}; set one of "
            f"its fields, {', '.join(inside)}."
        )
    return fields_lib.unknown(name, known, text)
