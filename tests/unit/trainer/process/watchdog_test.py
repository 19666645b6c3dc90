"""Does a task without progress show the stacks of its threads, and end?"""

import os
import signal
import subprocess
import sys
import time

# The first timer of a blocked process runs out 0.5 s after the watchdog's thread would act.
START = """
import ctypes, os, signal, subprocess, threading, time, types
from trainer.process import watchdog
watchdog._FIRST_DELAY_S = 0.5
watchdog._LATEST_POLL_S = 1.0
class LastResort(watchdog.LastResort):
    polls = 0
    def postpone(self, left_s):
        super().postpone(left_s)
        LastResort.polls += 1
watchdog.LastResort = LastResort
def await_polls(count):
    until = LastResort.polls + count
    while LastResort.polls < until:
        time.sleep(0.01)
def waits_forever():
    threading.Event().wait()
def holds_the_lock_in_native_code():
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):  # The second call never returns, also after a signal.
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)
"""


def _run(code):
    began = time.monotonic()
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
    await_polls(1)  # With which the watchdog starts the interpreter's timer.
    holds_the_lock_in_native_code()
"""
    )
    assert code == -signal.SIGALRM, errors  # As killed, so a supervisor starts it again.
    assert "in holds_the_lock_in_native_code" in errors
    assert seconds < 60


def test_a_task_that_makes_progress_continues():
    code, errors, _ = _run(
        """
now, is_seen = 0.0, threading.Event()
watchdog.time = types.SimpleNamespace(monotonic=lambda: now)
with watchdog.Watchdog(0.5, on_progress=is_seen.set) as watch:
    for step in range(20):
        now += 0.4
        is_seen.clear()
        watch.progress(f"step {step}")
        is_seen.wait()
now += 10  # Longer than the time-out, without the watchdog.
time.sleep(1.5)
"""
    )
    assert (code, errors) == (0, "")


def test_time_in_which_the_task_was_stopped_does_not_count():
    code, errors, seconds = _run(
        """
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # Not the pipes of the test.
command = f"sleep 4; while kill -CONT {os.getpid()}; do sleep 1; done"
with watchdog.Watchdog(1.5) as watch:
    await_polls(1)
    waker = subprocess.Popen(["sh", "-c", command], **quiet)
    os.kill(os.getpid(), signal.SIGSTOP)
    await_polls(2)
    watch.progress("resumed")
    await_polls(2)
waker.kill()
"""
    )
    assert (code, errors) == (0, "")
    assert seconds > 4


def test_a_task_whose_screen_nobody_reads_ends_all_the_same():
    """Its own output has filled the pipe, and a thread of it blocks there with the stream's lock."""
    began = time.monotonic()
    fills = """
threading.Thread(target=lambda: print("x" * (1 << 20), flush=True), daemon=True).start()
os.dup2(1, 2)
with watchdog.Watchdog(0.5):
    waits_forever()
"""
    nobody_reads, theirs = os.pipe()
    code = "from trainer.process import console\nconsole.PATIENCE_S = 1.0\n" + START + fills
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            assert process.wait(60) == 75
        finally:
            process.kill()
            os.close(nobody_reads)
    assert time.monotonic() - began < 30
