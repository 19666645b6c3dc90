"""How is a process started anew, by exec, under the same conditions as one that is forked?

Little is safe to do between fork and exec in a process with threads. So a small interpreter is executed
first, which sets the conditions and becomes the program by another exec.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

from trainer.process import parent_death
from trainer.process.start.program import Limits, Program

_ROOT = str(pathlib.Path(__file__).resolve().parents[3])
_PREFIX = """
import sys
sys.path.append(sys.argv[1])
from trainer.process.start import cold_start
cold_start.become(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
"""


def start(program: Program, output: int) -> subprocess.Popen:
    """Starts the program in a session of its own, with this descriptor for its stdout and stderr.

    It gets SIGTERM when the thread ends that calls this.

    Raises OSError where the machine cannot start a process.
    """
    return subprocess.Popen(
        [*_prefix(program.limits), sys.executable, "-m", program.module, *program.args],
        env=dict(program.environ), cwd=program.folder or None, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=output, stderr=output,
    )  # fmt: skip


def _prefix(limits: Limits) -> list[str]:
    """Arguments to put before a command; none where the system is not Linux."""
    if sys.platform != "linux":
        return []
    wanted = json.dumps(dataclasses.asdict(limits))
    return [sys.executable, "-I", "-S", "-c", _PREFIX, _ROOT, str(os.getpid()), wanted]


def become(starter: int, limits: str, command: list[str]) -> None:
    """Replaces this process by the command, which begins with an absolute path."""
    parent_death.end_with(starter, signal.SIGTERM)  # It stays in effect after the exec.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    Limits(**json.loads(limits)).apply()
    os.execv(command[0], command)
