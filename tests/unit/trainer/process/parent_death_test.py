"""Does a process end when its parent dies, whether it was forked or started by exec?"""

import os
import signal
import subprocess
import sys

import pytest

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
EXECUTED = """
import subprocess, sys, time
from trainer.process import parent_death
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
subprocess.Popen([*parent_death.command_prefix(), sys.executable, "-c", child])
time.sleep(60)
"""


@pytest.mark.parametrize("code", [FORKED, EXECUTED], ids=["forked", "executed"])
def test_a_child_ends_when_its_parent_is_killed(code):
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        assert parent.stdout.read() == ""  # The child holds the pipe open until it ends.


def test_a_command_whose_parent_has_ended_already_exits_with_75():
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from trainer.process import parent_death
parent_death.exec_command(os.getppid() + 1, {int(signal.SIGTERM)}, [sys.executable, "-c", ""])
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 75


def test_a_command_gets_its_arguments_and_environment(monkeypatch):
    from trainer.process import parent_death

    command = [
        sys.executable,
        "-c",
        "import os, sys; print(sys.argv[1:], os.environ['NAME'])",
        "a b",
    ]
    done = subprocess.run(
        [*parent_death.command_prefix(), *command], capture_output=True, text=True, check=True,
        env={"NAME": "value"}, timeout=60,
    )  # fmt: skip
    assert done.stdout == "['a b'] value\n"
