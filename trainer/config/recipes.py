"""Which recipes are there, and what do they return?

A recipe is a Python file with `get_config()`, and with `get_space()` if a sweep can search it. A recipe
in `configs/` is found by its name, any other by its path.
"""

import ast
import os
import traceback
from pathlib import Path
from typing import Any

from trainer.config.fields import ConfigError, short_json
from trainer.config.nearest import closest

FOLDER = Path(__file__).resolve().parents[2] / "configs"
_REQUIRED = object()


def names() -> list[str]:
    """The names of the recipes in `configs/`."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def summaries() -> dict[str, str]:
    """The first line of each recipe's docstring by name, read without running the recipe."""
    return {name: _summary(FOLDER / f"{name}.py") for name in names()}


def find(name_or_path: str, flag: str = "--config") -> Path:
    """The path of a recipe or a JSON file from its name or path. The file may not exist.

    Raises:
      ConfigError: no recipe has this name; the error suggests the nearest and lists all.
    """
    if os.sep in name_or_path or name_or_path.endswith((".py", ".json")):
        return Path(os.path.expanduser(name_or_path))
    if name_or_path in names():
        return FOLDER / f"{name_or_path}.py"
    close = closest(name_or_path, names())
    hint = f"did you mean {close}? The" if close else "the"
    raise ConfigError(
        f"`{flag}` must be a recipe's name, or the path of a recipe or a {_json(flag)}. Received: "
        f"{short_json(name_or_path)}; {hint} recipes are {', '.join(names())}."
    )


def run(
    path: Path, function: str = "get_config", flag: str = "--config", default: Any = _REQUIRED
) -> Any:
    """What a function of the recipe at `path` returns, or `default` if the recipe does not define it.

    Raises:
      ConfigError: the file cannot be read, or it fails; the error names its line.
    """
    source = read(path, flag)
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        # Not with import, whose cache would miss an edit within the same second.
        exec(compile(source, str(path), "exec"), namespace)
        if function in namespace:
            return namespace[function]()
    except (Exception, SystemExit) as error:
        raise _failure(path, error) from None
    if default is not _REQUIRED:
        return default
    example = f"{FOLDER}/{_example(flag)}.py"
    raise ConfigError(f"recipe {path} must define `{function}()`; see {example}.")


def read(path: Path, flag: str = "--config") -> str:
    """The text of a recipe or a JSON file. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except IsADirectoryError:
        inside = path / "config.json"
        name = inside if flag == "--config" and inside.is_file() else f"a recipe or a {_json(flag)}"
        raise ConfigError(
            f"`{flag}` must be a file. Received: {short_json(str(path))}, a folder; name {name}."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"`{flag}` must be a file that can be read. Received: {short_json(str(path))}, but "
            f"{reason}; correct the path, or use a recipe's name, e.g. {flag}={_example(flag)}."
        ) from None


def _json(flag: str) -> str:
    return "config.json" if flag == "--config" else "JSON file"


def _example(flag: str) -> str:
    return "digits_dense" if flag == "--config" else "digits_sweep"


def _summary(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError):
        return "(cannot be read)"
    return docstring.partition("\n")[0].rstrip(".")


def _failure(path: Path, error: BaseException) -> ConfigError:
    """The error of a recipe that raised `error`, with the recipe's line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == str(path)]  # fmt: skip
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    where = f"{path}, line {lines[-1]}" if lines and lines[-1] else f"{path}"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigError(f"recipe {where}: {what[:300]}; correct the recipe.")
