"""Is the end of a warm process named, however long it takes to end?"""

import contextlib
import subprocess
import sys

import pytest

from trainer.process.start import warm_process

# Closes the channel, as the kernel does it for a process that was killed, and ends later.
_ENDING = """
import os, sys, time
os.close(int(sys.argv[1]))
time.sleep(1)
sys.exit(3)
"""


@pytest.mark.parametrize("is_ending", [True, False])
def test_a_process_whose_channel_is_closed_is_waited_for(is_ending, monkeypatch):
    def started(command, pass_fds, **options):
        text = _ENDING if is_ending else "import time; time.sleep(60)"
        return real([sys.executable, "-c", text, str(pass_fds[0])], pass_fds=pass_fds, **options)

    real = subprocess.Popen
    monkeypatch.setattr(warm_process.subprocess, "Popen", started)
    with contextlib.closing(warm_process.WarmProcess(())) as warm:
        if is_ending:
            while warm._channel.recv(1):  # Until it has closed its end.
                pass
        assert warm.failure() == ("ended with exit code 3" if is_ending else "did not answer")
