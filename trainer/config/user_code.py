"""Where did a recipe's own code fail, and which files is it?

`reported` runs it, and turns its exception into a `RecipeError` that names the recipe's line and carries
the recipe's own lines of the traceback. `sources` are the fingerprints of its files.
"""

import ast
import contextlib
import hashlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from strategies.errors import InputError
from trainer.config.fields import ConfigError

_MAX_MESSAGE = 300  # Characters. Keras's own messages have whole paragraphs.
# What Keras and TensorFlow put around the reason for an error: bold type, the call that failed with all
# its arguments, and the node that computed it.
_AROUND_REASON = re.compile(
    r"\x1b\[\d*m|^Exception encountered when calling .*?\.\s|\s*Arguments received by .*"
    r"|\{\{\w+ [^}]*\}\} ?|\s*\[Op:\w+\]( name:)?",
    re.DOTALL,
)
# What the first two return is compared itself, and the last changes no weights.
_UNFINGERPRINTED = ("get_config", "get_space", "get_writer")


class RecipeError(ConfigError):
    """A recipe's own code failed. The notes of the exception are its own lines of the traceback."""


@contextlib.contextmanager
def reported(path: Path, doing: str = "") -> Iterator[None]:
    """Inside it the recipe's code runs; modules beside the recipe can be imported.

    Raises RecipeError in place of any exception of that code; it says what the code was `doing`.
    """
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except RecipeError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        is_own = any(_is_own(frame.filename, path) for frame in frames)
        if isinstance(error, InputError) and not is_own:
            raise  # The trainer's own message about what the code returned.
        raise failure(path, error, doing) from None
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def failure(
    path: Path,
    error: BaseException,
    doing: str = "",
    frames: Iterable[traceback.FrameSummary] | None = None,
) -> RecipeError:
    """The error of a recipe whose code raised `error` when `doing` something.

    It names the last line of the recipe that ran. `frames`: those of the error where it has none itself.
    """
    frames = traceback.extract_tb(error.__traceback__) if frames is None else frames
    own = [frame for frame in frames if _is_own(frame.filename, path)]
    where = f"{own[-1].filename}, line {own[-1].lineno}" if own else f"{path}"
    if isinstance(error, SyntaxError) and error.filename and _is_own(error.filename, path):
        where = f"{error.filename}, line {error.lineno}" if error.lineno else f"{error.filename}"
    reason = " ".join(_AROUND_REASON.sub("", str(error)).split())[:_MAX_MESSAGE].rstrip(" .")
    what = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    found = RecipeError(f"recipe {where}: {doing and f'{doing}: '}{what}; correct the recipe.")
    for frame in own if len(own) > 1 else ():  # The message names the only one.
        found.add_note(f"  {frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}")
    return found


def _is_own(filename: str, path: Path) -> bool:
    """Whether a file is the recipe, or one beside it or below that is part of no installed package."""
    if filename == str(path):
        return True
    file, folder = Path(filename), path.resolve().parent
    if not file.is_absolute() or not file.is_relative_to(folder):
        return False
    first = file.relative_to(folder).parts
    return first[0] not in ("trainer", "strategies") and "site-packages" not in first


def sources(path: Path, source: str) -> dict[str, str]:
    """sha256 of the recipe and of every module beside it that has been imported, by their file names.

    Comments, docstrings and what the functions `get_config`, `get_space` and `get_writer` say do not
    count.
    """
    folder = path.resolve().parent
    found = {"recipe": _fingerprint(source)}
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    for file in sorted(files):
        if file.endswith(".py") and _is_own(file, path) and Path(file).resolve() != path.resolve():
            with contextlib.suppress(OSError, ValueError):
                name = str(Path(file).relative_to(folder))
                found[name] = _fingerprint(Path(file).read_text(encoding="utf-8"))
    return found


def _fingerprint(source: str) -> str:
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef) and node.name in _UNFINGERPRINTED)
    ]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_docstring(one)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_docstring(node: ast.AST) -> bool:
    is_expression = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_expression and isinstance(node.value.value, str)  # type: ignore[attr-defined]
