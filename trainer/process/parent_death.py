"""How does a process end when its parent dies? Linux sends it a signal (PR_SET_PDEATHSIG).

`end_with` is for a process that was forked, `command_prefix` for a program that is started by exec. The
kernel sends the signal when the parent's thread that started the process ends, so start it from the
main thread.
"""

import ctypes
import os
import pathlib
import signal
import sys

from strategies.errors import EXIT_RESUME

_PR_SET_PDEATHSIG = 1
_ROOT = str(pathlib.Path(__file__).resolve().parents[2])
_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from trainer.process import parent_death
parent_death.exec_command(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
"""


def end_with(parent: int, number: int) -> None:
    """Has the kernel send this process the signal `number` when the process `parent` ends.

    Exits at once if it has ended already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_RESUME)


def command_prefix(number: int = signal.SIGTERM) -> list[str]:
    """Arguments to put before a command, so that it gets the signal `number` when this process ends.

    The command must begin with an absolute path. The prefix is an interpreter that becomes the command
    by exec: little is safe to do between fork and exec in a process with threads. It is empty where the
    system is not Linux.
    """
    if sys.platform != "linux":
        return []
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, str(os.getpid()), str(int(number))]


def exec_command(parent: int, number: int, command: list[str]) -> None:
    """Replaces this process by the command. `end_with` stays in effect after the exec."""
    end_with(parent, number)
    os.execv(command[0], command)
