"""Which config do a recipe and the command line make together?"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config import fields as fields_lib
from trainer.config import recipes
from trainer.config.fields import ConfigError, Field
from trainer.config.rules import validate
from trainer.config.schema import ExperimentConfig, fields, flatten


def resolve(name_or_path: str, overrides: Mapping[str, str] | None = None) -> ExperimentConfig:
    """The valid config that a recipe and the overrides on the command line make together.

    Args:
      name_or_path: a recipe in `configs/` by its name, a recipe's file, or the `config.json` of an
        earlier run.
      overrides: values as they were typed, by dotted name: {"data.global_batch_size": "128"}.

    Raises:
      ConfigError: there is no such recipe, or it fails, or a field is unknown or invalid.
    """
    path = recipes.find(name_or_path)
    values = _values(path) | _parsed(overrides or {})
    values["name"] = values["name"] or path.stem
    config = fields_lib.build(ExperimentConfig, values)
    validate(config)
    return config


def override(config: ExperimentConfig, overrides: Mapping[str, str]) -> ExperimentConfig:
    """The config with some fields set as they would be on the command line. Raises ConfigError."""
    changed = fields_lib.build(ExperimentConfig, flatten(config) | _parsed(overrides))
    validate(changed)
    return changed


def from_json(text: str) -> ExperimentConfig:
    """The valid config that `to_json` wrote.

    Raises:
      ConfigError: it is not JSON, lacks a field, or holds one that is unknown or invalid.
    """
    config = fields_lib.build(ExperimentConfig, _values_of_json(text))
    validate(config)
    return config


def _values(path: Path) -> dict[str, Any]:
    """Every field as the recipe or the JSON file has it, not yet checked."""
    if path.suffix == ".json":
        try:
            return _values_of_json(recipes.read(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    config = recipes.run(path)
    if not isinstance(config, ExperimentConfig):
        raise ConfigError(
            f"`get_config` of {path} must return an ExperimentConfig. Received: "
            f"{fields_lib.brief(config)}; return one."
        )
    return flatten(config)


def _values_of_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number too long.
        raise ConfigError(
            f"a config must be JSON, but {error or 'it is too deep'}. Received: "
            f"{fields_lib.brief(text)}; {fields_lib.WHOLE}."
        ) from None
    return fields_lib.flatten_json(ExperimentConfig, value)


def _parsed(overrides: Mapping[str, str]) -> dict[str, Any]:
    known = {field.name: field for field in fields()}
    for name, text in overrides.items():
        if name not in known:
            raise _unknown_override(name, text, known)
    return {name: known[name].parse(text) for name, text in overrides.items()}


def _unknown_override(name: str, text: str, known: Mapping[str, Field]) -> ConfigError:
    inside = [field for field in known if field.startswith(f"{name}.")]
    if inside:
        return ConfigError(
            f"`{name}` is a section of the config. Received: {fields_lib.brief(text)}; set one of "
            f"its fields, {', '.join(inside)}."
        )
    return fields_lib.unknown(name, known, text)
