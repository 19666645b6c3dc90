"""Does a wait for a signal return that signal, and nothing where there was none?"""

import signal
import subprocess
import sys
import time

from tests.paths import ROOT
from trainer.process.signal_wait import next_signal

USR = (signal.SIGUSR1, signal.SIGUSR2)
# It is suspended during the wait, and continued after its end.
SUSPENDED = """
import os, signal, subprocess
from trainer.process.signal_wait import next_signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
command = f"sleep 0.2; kill -STOP {os.getpid()}; sleep 0.6; kill -CONT {os.getpid()}"
with subprocess.Popen(["sh", "-c", command]):
    print(next_signal([signal.SIGTERM], 0.5))
"""


def test_a_pending_signal_is_returned_and_then_none():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, USR)
    try:
        signal.raise_signal(signal.SIGUSR2)
        assert next_signal(USR, 60.0) is signal.SIGUSR2
        began = time.monotonic()
        assert next_signal(USR, 0.1) is None
        assert time.monotonic() - began > 0.09
        assert next_signal(USR, 0.0) is None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_process_that_was_suspended_has_received_no_signal():
    command = [sys.executable, "-c", SUSPENDED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("None\n", "")
