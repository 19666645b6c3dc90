"""Does a process end when its parent dies?"""

import os
import signal
import subprocess
import sys

from tests.paths import ROOT

FORKED = """
import os, signal, time
from trainer.process import parent_death
parent = os.getpid()
if not os.fork():
    parent_death.end_with(parent, signal.SIGTERM)
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_a_child_ends_when_its_parent_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", FORKED], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        assert parent.stdout.read() == ""  # The child holds the pipe open until it ends.


def test_a_process_whose_parent_has_ended_already_exits_with_75():
    code = f"""
import os
from trainer.process import parent_death
parent_death.end_with(os.getppid() + 1, {int(signal.SIGTERM)})
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=120).returncode == 75
