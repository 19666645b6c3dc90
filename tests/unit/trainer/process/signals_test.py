"""Does a signal end a process, whatever its main thread is doing?"""

import select
import signal
import subprocess
import sys
import time

import pytest

from tests.paths import ROOT

_START = """
import ctypes, sys, time
from trainer.process.signals import StopRequest
stop = StopRequest()
print("ready", flush=True)
"""
_IN_NATIVE_CODE = "ctypes.CDLL(None).sleep(60)\n"  # In one call, and without the lock of Python.
_UNTIL_ASKED = """
while not stop.requested:
    time.sleep(0.01)
print("asked", flush=True)
"""
_SAVING = "time.sleep(0.9)\n"  # Long enough for an end at once to come in between.


@pytest.fixture
def start():
    """Starts a process that runs `code` with a StopRequest; no process outlives the test."""
    processes = []

    def run(code):
        # Unbuffered, so that a line read is not a line the next wait misses.
        process = subprocess.Popen(
            [sys.executable, "-c", _START + code], cwd=ROOT, bufsize=0,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        assert _line(process) == "ready"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def _line(process):
    assert select.select([process.stdout], [], [], 30)[0], "the process said nothing for 30 s"
    return process.stdout.readline().decode().strip()


def _send_until_it_ends(process, number):
    """The exit code. What comes within a second of the first is the same stop, so one may not do."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        process.send_signal(number)
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it still ran after 30 s")


def _end(process):
    """(exit code, what was on stderr, seconds until then)"""
    began = time.monotonic()
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors.decode(), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [_IN_NATIVE_CODE, "while True: pass\n"])
def test_before_training_a_signal_ends_the_process_at_once(start, number, busy):
    process = start(busy)
    process.send_signal(number)
    exit_code, errors, seconds = _end(process)
    assert exit_code == 75
    assert errors == (
        f"muster: error: stopped by {number.name} before the first step; run the same command "
        "again\n"
    )
    assert seconds < 5


def test_a_signal_that_came_before_the_request_was_made_does_what_it_always_does():
    code = "import signal\nsignal.raise_signal(signal.SIGTERM)\n" + _START
    process = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, timeout=30)
    assert process.returncode == -signal.SIGTERM


def test_threads_started_later_cannot_take_the_signal_away(start):
    busy = "import threading\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    process = start(busy + _IN_NATIVE_CODE)
    process.send_signal(signal.SIGTERM)
    assert _end(process)[0] == 75


def test_during_training_the_first_signal_only_asks(start):
    process = start("stop.set_grace_period(60)\nprint('training', flush=True)\n" + _UNTIL_ASKED)
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    assert _line(process) == "asked"
    exit_code, errors, _ = _end(process)
    assert exit_code == 0
    assert errors == "muster: SIGTERM: saving, then stopping\n"


def test_a_stop_that_is_heard_from_two_sides_is_one(start):
    process = start(
        "stop.set_grace_period(60)\nprint('training', flush=True)\n" + _UNTIL_ASKED + _SAVING
    )
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    assert _line(process) == "asked"
    process.send_signal(signal.SIGTERM)  # As Slurm's, and then its guard's.
    exit_code, errors, _ = _end(process)
    assert exit_code == 0
    assert errors == "muster: SIGTERM: saving, then stopping\n"


def test_a_second_signal_ends_the_process_at_once(start):
    process = start(
        "stop.set_grace_period(60)\nprint('training', flush=True)\n"
        + _UNTIL_ASKED
        + _IN_NATIVE_CODE
    )
    assert _line(process) == "training"
    process.send_signal(signal.SIGINT)
    assert _line(process) == "asked"
    assert process.poll() is None
    _send_until_it_ends(process, signal.SIGINT)
    exit_code, errors, seconds = _end(process)
    assert exit_code == 75
    assert errors.splitlines()[1] == (
        "muster: error: stopped by a second signal; what the last checkpoint holds is safe"
    )
    assert seconds < 5


def test_a_stop_that_outlasts_the_grace_ends_the_process(start):
    process = start("stop.set_grace_period(0.2)\nprint('training', flush=True)\n" + _IN_NATIVE_CODE)
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    exit_code, errors, seconds = _end(process)
    assert exit_code == 75
    assert errors.splitlines()[1] == (
        "muster: error: did not come to an end within --stop_grace_s=0.2 s of SIGTERM; what the "
        "last checkpoint holds is safe"
    )
    assert 0.15 < seconds < 5


def test_a_signal_ends_a_process_whose_screen_is_gone(start):
    process = start(_IN_NATIVE_CODE)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 75


def test_a_process_whose_screen_is_gone_is_still_asked_first(start, tmp_path):
    wait = "while not stop.requested:\n    time.sleep(0.01)\n"
    save = f"open({str(tmp_path / 'saved')!r}, 'x')\n"
    training = "stop.set_grace_period(60)\nprint('training', flush=True)\n"
    process = start(training + wait + save + _IN_NATIVE_CODE)
    assert _line(process) == "training"
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while not (tmp_path / "saved").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # Its screen is gone, so the file is the only sign.
    assert _send_until_it_ends(process, signal.SIGTERM) == 75  # It still listens.


def test_nobody_asked_until_somebody_does(start):
    process = start("print(stop.requested, flush=True)\n")
    assert _line(process) == "False"
    assert _end(process)[0] == 0
