"""Where are compiled programs kept, and may this process use that folder?

In a private folder of this user: what is in it is executed. A folder that another user owns or can write
to is refused. Within it, `platform` names a folder for each kind of process, as code that was compiled
for one may not run in another, or may round differently.
"""

import hashlib
import importlib.metadata
import os
import pathlib
import platform as python_platform
import pwd
import stat
from collections.abc import Mapping

from strategies import packages
from strategies.devices import threads
from strategies.errors import os_reason

_OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH
# The lines of /proc/cpuinfo that describe what a processor can do, on x86 and on ARM.
_PROCESSOR = (
    "vendor_id,cpu family,model,model name,stepping,flags,"
    "CPU implementer,CPU architecture,CPU variant,CPU part,CPU revision,Features"
).split(",")
# The environment variables that change what XLA or oneDNN make of a program.
_COMPILER = ("XLA_", "TF_XLA_", "TF_ENABLE_ONEDNN", "ONEDNN_", "DNNL_")


class RefusedError(Exception):
    """The folder cannot be used. The text is the reason."""


def default(environ: Mapping[str, str]) -> pathlib.Path:
    """This user's folder: `$XDG_CACHE_HOME/muster/xla`, or below `~/.cache`.

    Raises:
      RefusedError: the user has no home folder.
    """
    base = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # Which the specification of this variable says to ignore.
        base = os.path.join(_home(environ), ".cache")
    return pathlib.Path(base, "muster", "xla")


def _home(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    if not home:
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            raise RefusedError("this user has no home folder") from None
    if not os.path.isabs(home):
        raise RefusedError(f"HOME is not an absolute path: {home!r}")
    return home


def check(folder: pathlib.Path) -> None:
    """Returns if this process may use the folder, or could create it. Changes nothing.

    Raises:
      RefusedError: it may not.
    """
    try:
        found = folder.stat()
    except FileNotFoundError:
        _check_can_be_created(folder)
        return
    except OSError as error:
        raise RefusedError(f"{folder} cannot be read ({os_reason(error)})") from None
    if not stat.S_ISDIR(found.st_mode):
        raise RefusedError(f"{folder} is not a folder")
    if found.st_uid != os.geteuid():
        raise RefusedError(f"{folder} belongs to another user (uid {found.st_uid})")
    if found.st_mode & _OTHERS_CAN_WRITE:
        raise RefusedError(f"others can write to {folder}; `chmod go-w` it")


def _check_can_be_created(folder: pathlib.Path) -> None:
    parent = next(parent for parent in folder.parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RefusedError(f"{folder} cannot be created, as {parent} cannot be written")


def create(folder: pathlib.Path) -> None:
    """Creates the folder for this user alone, unless it exists.

    Raises:
      RefusedError: it cannot be created, or it may not be used.
    """
    try:
        make_private(folder)
    except OSError as error:
        raise RefusedError(f"{folder} cannot be created ({os_reason(error)})") from None
    check(folder)


def make_private(folder: pathlib.Path) -> None:
    """Creates the folder, and those above it that are missing, for this user alone. Raises OSError."""
    for one in (
        *reversed(folder.parents),
        folder,
    ):  # `parents=True` would leave theirs to the umask.
        if not one.is_dir():
            one.mkdir(mode=0o700, exist_ok=True)


def platform(environ: Mapping[str, str], cpuinfo: str = "/proc/cpuinfo") -> str:
    """The name of what compiled code depends on, besides the program: TensorFlow, processor, threads.

    Raises:
      RefusedError: the processor is unknown.
    """
    cores, per_operation = len(os.sched_getaffinity(0)), threads.num_threads(environ)
    settings = sorted(f"{name}={environ[name]}" for name in environ if name.startswith(_COMPILER))
    parts = [_processor(cpuinfo), *_tensorflow(), *settings]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    version = packages.version("tensorflow")
    return f"tensorflow-{version}-{cores}-cores-{per_operation}-threads-{digest}"


def _processor(cpuinfo: str) -> str:
    try:
        first = pathlib.Path(cpuinfo).read_text().partition("\n\n")[0]
    except OSError as error:
        raise RefusedError(f"{cpuinfo} cannot be read ({os_reason(error)})") from None
    found = [line for line in first.splitlines() if line.partition(":")[0].strip() in _PROCESSOR]
    if not found:
        raise RefusedError(f"{cpuinfo} does not describe the processor")
    return "\n".join([python_platform.machine(), *found])


def _tensorflow() -> list[str]:
    """The builds of TensorFlow that are installed, each with the sha256 of its files' list of sha256."""
    found = []
    for name in packages.TENSORFLOW:
        if version := packages.exact_version(name):
            files = importlib.metadata.distribution(name).read_text("RECORD") or ""
            # Its other lines name files that pip wrote, which differ between environments.
            own = "\n".join(line for line in files.splitlines() if line.startswith("tensorflow/"))
            found.append(f"{name} {version} {hashlib.sha256(own.encode()).hexdigest()}")
    return found
