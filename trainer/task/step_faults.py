"""Did a step fail because of a recipe's own model or data? `named` turns such an error into one line.

What a model refuses only when it meets an example, such as a word that is beyond its vocabulary, is known
only then. TensorFlow's error has the lines of the model's code in its text, where they are found.
"""

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from trainer.config import user_code
from trainer.config.schema import ExperimentConfig

# By name, as TensorFlow may not be imported: errors of values, none of which a lost peer can cause.
_OF_VALUES = (
    "InvalidArgumentError",
    "NotFoundError",
    "OutOfRangeError",
    "UnimplementedError",
    "UnknownError",
)
_NO_FRAMES = "<stack traces unavailable>\n"  # As another task has sometimes sent them.
# Where several operations failed, as those of parallel blocks do, the first of them follows.
_SEVERAL = re.compile(r"^\d+ root error\(s\) found\.\s+\(0\) [A-Z_]+: ")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')


@contextlib.contextmanager
def named(config: ExperimentConfig) -> Iterator[None]:
    """Inside it steps run. Raises RecipeError where the values fail in a recipe's own model."""
    try:
        yield
    except Exception as error:
        is_of_values = type(error).__name__ in _OF_VALUES
        if not config.recipe or not is_of_values or not _is_tensorflows(error):
            raise
        message = str(error).partition("\n\t [[")[0].strip()
        frames = [
            traceback.FrameSummary(file, int(line), name)
            for file, line, name in dict.fromkeys(_FRAME.findall(message))
        ]
        text = message.rpartition("\n\n")[2].rpartition(_NO_FRAMES)[2]
        reason = type(error)(None, None, _SEVERAL.sub("", text.strip()))
        raise user_code.failure(Path(config.recipe), reason, "a step failed", frames) from None


def _is_tensorflows(error: Exception) -> bool:
    return type(error).__module__.startswith("tensorflow")
