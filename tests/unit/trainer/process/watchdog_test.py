"""Does a task without progress show the stacks of its threads, and end?"""

import subprocess
import sys
import time

# The interpreter's timer acts 0.5 s after the watchdog's thread.
START = """
import ctypes, threading, time
from trainer.process import watchdog
watchdog.TIMER_DELAY_S = 0.5
def waits_forever():
    threading.Event().wait()
def holds_the_lock_in_native_code():
    ctypes.PyDLL(None).sleep(100)
"""


def _run(code):
    began = time.monotonic()
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr, time.monotonic() - began


def test_a_task_without_progress_shows_its_stacks_and_exits_with_75():
    code, errors, seconds = _run(
        """
with watchdog.Watchdog(0.5) as watch:
    watch.progress("training at step 7")
    waits_forever()
"""
    )
    assert code == 75, errors
    assert "in waits_forever" in errors and "in _poll" in errors  # Of all threads.
    last = errors.splitlines()[-1]
    assert last == (
        "muster: error: no progress for --stall_timeout_s=0.5 s while training at step 7; the "
        "stacks of all threads are above; run the same command again to resume"
    )
    assert seconds < 30


def test_a_task_whose_native_code_holds_pythons_lock_exits_too():
    code, errors, seconds = _run(
        """
with watchdog.Watchdog(0.5):
    time.sleep(0.2)  # In which the watchdog polls and starts the interpreter's timer.
    holds_the_lock_in_native_code()
"""
    )
    assert code == 1, errors
    assert "in holds_the_lock_in_native_code" in errors
    assert seconds < 30


def test_a_task_that_makes_progress_continues():
    code, errors, _ = _run(
        """
with watchdog.Watchdog(0.5) as watch:
    for step in range(20):
        time.sleep(0.1)
        watch.progress(f"step {step}")
time.sleep(1.5)  # Longer than the time-out, without the watchdog.
"""
    )
    assert (code, errors) == (0, "")
