"""Does a task that does not come on say where it stands, and end?"""

import subprocess
import sys
import time

# Each has a watch of half a second, and 0.5 s more for the interpreter's own timer.
START = """
import ctypes, threading, time
from trainer.process import watchdog as stall
stall.EXTRA_S = 0.5
def waits_for_ever():
    threading.Event().wait()
def holds_the_lock_in_native_code():
    ctypes.PyDLL(None).sleep(100)
"""


def _run(code):
    began = time.monotonic()
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr, time.monotonic() - began


def test_a_task_that_stands_still_shows_its_stacks_and_ends_with_75():
    code, errors, seconds = _run(
        """
with stall.Watchdog(0.5) as watch:
    watch.progress("training at step 7")
    waits_for_ever()
"""
    )
    assert code == 75, errors
    assert "in waits_for_ever" in errors and "in _look" in errors  # Of all threads.
    last = errors.splitlines()[-1]
    assert last == (
        "muster: error: no progress for --stall_timeout_s=0.5 s while training at step 7; where "
        "every thread stands is above; run the same command again to go on"
    )
    assert seconds < 30


def test_native_code_that_holds_pythons_lock_does_not_keep_it_from_ending():
    code, errors, seconds = _run(
        """
with stall.Watchdog(0.5):
    time.sleep(0.2)  # In which the watch looks, and winds up the interpreter's timer.
    holds_the_lock_in_native_code()
"""
    )
    assert code == 1, errors
    assert "in holds_the_lock_in_native_code" in errors
    assert seconds < 30


def test_a_task_that_comes_on_is_left_alone():
    code, errors, _ = _run(
        """
with stall.Watchdog(0.5) as watch:
    for step in range(20):
        time.sleep(0.1)
        watch.progress(f"step {step}")
time.sleep(1.5)  # Nor is one that has left the watch.
"""
    )
    assert (code, errors) == (0, "")
