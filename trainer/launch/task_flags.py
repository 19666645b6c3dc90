"""Which flags does every task of a launched cluster get?

The flags of the command line, and `--devices` and one `--workdir` for all tasks where these are missing.
"""

import itertools
import pathlib
import re
import time
from collections.abc import Sequence

from strategies.errors import InputError, os_reason


def value_of(args: Sequence[str], name: str) -> str:
    """The value of a flag; "" if it is not given. Of several the last counts."""
    value = ""
    for arg, following in itertools.zip_longest(args, args[1:], fillvalue=""):
        if arg == f"--{name}":
            value = following
        elif arg.startswith(f"--{name}="):
            value = arg.partition("=")[2]
    return value


def add_devices(args: list[str], devices_per_worker: int) -> list[str]:
    """The flags, with `--devices` if it was not among them."""
    return args if _has(args, "devices") else [*args, f"--devices={devices_per_worker}"]


def add_workdir(args: list[str]) -> tuple[list[str], str]:
    """The flags with one workdir for all tasks, and that workdir if it was created here, else "".

    An empty `--workdir=`, as of a variable that is not set, counts as none: of several the last counts.
    """
    if value_of(args, "workdir"):
        return args, ""
    config = re.search(r"--config[= ]([^ ]+)", " ".join(args))
    recipe = pathlib.Path(config[1]).stem if config else "digits_dense"
    workdir = _create_folder(pathlib.Path("runs"), f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}")
    return [*args, f"--workdir={workdir}"], str(workdir)


def _has(args: Sequence[str], name: str) -> bool:
    return any(arg == f"--{name}" or arg.startswith(f"--{name}=") for arg in args)


def _create_folder(parent: pathlib.Path, name: str) -> pathlib.Path:
    for folder in (parent / name, *(parent / f"{name}-{number}" for number in range(2, 100))):
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"`--workdir` must be a folder that can be written. Received: '{folder}' "
                f"({os_reason(error)}); name another."
            ) from None
    raise InputError(
        f"`--workdir` is missing, and '{parent / name}' already exists; name another folder."
    )
