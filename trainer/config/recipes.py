"""Which recipes are there, and what do they return?

A recipe is a Python file with `get_config()`, with `get_space()` if a sweep can search it, and with
`get_model(config, data)` if it brings a model of its own. A recipe in `configs/` is found by its name,
any other by its path.
"""

import ast
import dataclasses
import functools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strategies import tensorflow_import
from trainer.config import user_code
from trainer.config.fields import ConfigError, short_json
from trainer.config.nearest import closest

FOLDER = Path(__file__).resolve().parents[2] / "configs"
YAML = (".yaml", ".yml")  # Of a sweep's space, where these are read as well as JSON.
_REQUIRED = object()


def names() -> list[str]:
    """The names of the recipes in `configs/`."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def summaries() -> dict[str, str]:
    """The first line of each recipe's docstring by name, read without running the recipe."""
    return {name: _summary(FOLDER / f"{name}.py") for name in names()}


def is_name_or_path(word: str) -> bool:
    """Whether `find` would take the word for a recipe or a config, which a source has a colon to be."""
    return word in names() or (":" not in word and word.endswith((".py", ".json")))


def find(name_or_path: str, flag: str = "--config") -> Path:
    """The path of a recipe or a JSON file from its name or path. The file may not exist.

    Raises:
      ConfigError: no recipe has this name; the error suggests the nearest and lists all.
    """
    if os.sep in name_or_path or name_or_path.endswith((".py", ".json", *YAML)):
        return Path(os.path.expanduser(name_or_path))
    if name_or_path in names():
        return FOLDER / f"{name_or_path}.py"
    close = closest(name_or_path, names())
    hint = f"did you mean {close}? The" if close else "the"
    raise ConfigError(
        f"`{flag}` must be a recipe's name, or the path of a recipe or a {_json(flag)}. Received: "
        f"{short_json(name_or_path)}; {hint} recipes are {', '.join(names())}."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """A recipe that has been executed."""

    path: Path
    source: str
    namespace: dict[str, Any]

    def defines(self, function: str) -> bool:
        return function in self.namespace

    def call(self, function: str, *args: Any) -> Any:
        """What a function of the recipe returns. Raises RecipeError where it fails."""
        with user_code.reported(self.path):
            return self.namespace[function](*args)

    def code_of(self, function: str) -> str:
        """The text of a function that the file defines, without its comments; "" where it is imported."""
        found = [
            ast.unparse(node)
            for node in ast.parse(self.source).body
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
        return found[-1] if found else ""

    def sources(self) -> dict[str, str]:
        """The fingerprints of the recipe and of the modules beside it that it has imported so far."""
        return user_code.sources(self.path, self.source)


def load(path: Path, flag: str = "--config") -> Recipe:
    """The recipe at `path`, executed once for each content of the file.

    Raises:
      ConfigError: the file cannot be read, or it fails; the error names its line.
    """
    return _executed(path, read(path, flag))


def run(
    path: Path, function: str = "get_config", flag: str = "--config", default: Any = _REQUIRED
) -> Any:
    """What a function of the recipe at `path` returns, or `default` if the recipe does not define it.

    Raises:
      ConfigError: the file cannot be read, or it fails; the error names its line.
    """
    recipe = load(path, flag)
    if recipe.defines(function):
        return recipe.call(function)
    if default is not _REQUIRED:
        return default
    example = f"{FOLDER}/{_example(flag)}.py"
    raise ConfigError(f"recipe {path} must define `{function}()`; see {example}.")


@functools.cache
def _executed(path: Path, source: str) -> Recipe:
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    with user_code.reported(path):
        tree = ast.parse(source, str(path))
        if {"keras", "tensorflow"} & {*_imported(tree)}:
            with tensorflow_import.quietly():
                import keras  # noqa: F401, so that the recipe's own import prints nothing.
        # Layers that are made at the recipe's top take their seeds from here.
        random.seed(0)
        # Not with import, whose cache would miss an edit within the same second.
        exec(compile(tree, str(path), "exec"), namespace)
    return Recipe(path, source, namespace)


def _defined(tree: ast.Module) -> set[str]:
    """The names of the functions that a recipe defines at its top, or imports there."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return names | {alias.asname or alias.name for node in imports for alias in node.names}


def _imported(tree: ast.Module) -> Iterator[str]:
    """The names of the packages that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


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
    return "config.json" if flag == "--config" else "JSON or YAML file"


def _example(flag: str) -> str:
    return "digits_dense" if flag == "--config" else "digits_sweep"


def _summary(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError):
        return "(cannot be read)"
    return docstring.partition("\n")[0].rstrip(".")
