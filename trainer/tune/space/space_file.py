"""What does the file of a space say? It is JSON, or YAML where its name ends in .yaml or .yml."""

from pathlib import Path
from typing import Any

from trainer.config import recipes
from trainer.config.fields import ConfigError
from trainer.storage import safe_reading

_MAX_CHARS = 1 << 20


def parse(path: Path, text: str) -> Any:
    """The value of the file at `path`, whose text this is.

    Raises:
      ConfigError: it cannot be read as what its name says.
    """
    is_yaml = path.suffix in recipes.YAML
    try:
        if len(text) > _MAX_CHARS:
            raise ValueError(f"it has more than {_MAX_CHARS:,} characters")
        return _parse_yaml(text) if is_yaml else safe_reading.parse_json(text)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"`--space` must be {'YAML' if is_yaml else 'JSON'}, but {reason}. Received: {path}; "
            "correct it."
        ) from None


def _parse_yaml(text: str) -> Any:
    """Plain values only. Aliases are refused: a few lines of them can describe gigabytes."""
    try:
        import yaml
    except ImportError:
        raise ValueError("PyYAML is not installed; run `pip install 'muster[tune]'`") from None
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("aliases (*name) are not read")
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
