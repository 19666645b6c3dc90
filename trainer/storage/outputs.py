"""Can everything be written that a run or a sweep writes into its folder? Found before it begins.

Whatever has the name of one of the files must be a file, and whatever has that of a folder a folder, and
this process must be able to write there.
"""

import fnmatch
import os
import pathlib
import stat

from strategies.errors import os_reason
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.safe_reading import is_damage

# Files to which lines are appended, and files that are replaced as a whole.
_APPENDED = ("metrics.jsonl", "examples-*.jsonl", "timeline-*.jsonl", "ledger.jsonl")
_REPLACED = (
    "config.json", "summary.json", "model.json", "report.json", "report.html", "trials.json",
    "best_config.json", "compare.json", "compare.html", "cross_validation.json",
)  # fmt: skip
_FOLDERS = ("checkpoints", "partition", "tensorboard", "plots", "trials")


def check_outputs(workdir: pathlib.Path) -> None:
    """Returns if what is in this folder can be written; also where the folder is missing.

    Raises WorkdirError. It changes nothing.
    """
    try:
        names = sorted(os.listdir(workdir))
    except OSError as error:
        if is_damage(error):
            return  # Whether it can be created is another question.
        raise _unusable(workdir, os_reason(error)) from None
    for name in names:
        if reason := _why_unusable(workdir / name):
            raise _unusable(workdir / name, reason)


def _why_unusable(path: pathlib.Path) -> str:
    is_appended = any(fnmatch.fnmatch(path.name, pattern) for pattern in _APPENDED)
    try:
        if path.name in _FOLDERS:
            return _why_not_a_folder(path)
        is_file = is_appended or path.name in _REPLACED
        if is_file and not stat.S_ISREG(os.stat(path).st_mode):
            return "it is not a regular file"
        if is_appended:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return os_reason(error)
    return ""


def _why_not_a_folder(path: pathlib.Path) -> str:
    if not stat.S_ISDIR(os.stat(path).st_mode):
        return "it is not a folder"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return "no permission to list it and to write there"
    inside = path / "metrics"  # TensorBoard's files of a run.
    if path.name == "tensorboard" and os.path.lexists(inside) and not inside.is_dir():
        return f"{inside.name} in it is not a folder"
    return ""


def _unusable(path: pathlib.Path, reason: str) -> WorkdirError:
    return WorkdirError(
        f"`--workdir` cannot be used ({reason}). Received: {str(path)!r}; move it away, or make it "
        "writable, or choose another folder."
    )
