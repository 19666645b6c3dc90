"""How long from a command to the end of its first step?

    python -m benchmarks.peers.first_step WORK muster|import|keras

The commands are the default recipe, a Python that only imports TensorFlow, and Keras `fit` on the same
images. The clock stops at the line that says that the step was taken. Each command compiles what it runs.
`cpu_seconds`: of the command's process until then, which another process's work changes less.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks.work import say

# The text of the line at which the clock stops.
_MARKS = {"muster": r" train +\| ", "import": "imported", "keras": "first step"}


def main() -> None:
    what = sys.argv[2]
    with tempfile.TemporaryDirectory() as workdir:
        seconds, cpu_seconds = seconds_until(_MARKS[what], command(what, workdir))
        say(seconds=seconds, cpu_seconds=cpu_seconds)


def command(what: str, workdir: str) -> list[str]:
    if what == "muster":
        flags = [f"--workdir={workdir}", "--config.train.steps=1", "--compile_cache=off"]
        return [sys.executable, "-m", "trainer", *flags]
    if what == "import":
        return [sys.executable, "-c", "import tensorflow; print('imported', flush=True)"]
    return [sys.executable, "-m", "benchmarks.peers.keras_first_step"]


def seconds_until(mark: str, command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds until `command` prints a line that matches `mark`.

    Raises SystemExit if it never does.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(mark, line):
            seconds = time.perf_counter() - began
            process.send_signal(signal.SIGKILL)  # What follows is not measured.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return seconds, used.ru_utime + used.ru_stime
    process.wait()
    sys.exit("".join(lines) or f"{command} said nothing")


if __name__ == "__main__":
    main()
