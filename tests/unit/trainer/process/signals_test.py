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
_IN_NATIVE_CODE = "ctypes.CDLL(None).sleep(60)\n"  # One call, which does not hold Python's lock.
_UNTIL_REQUESTED = """
while not stop.requested:
    time.sleep(0.01)
print("requested", flush=True)
"""
_SAVING = "time.sleep(0.9)\n"  # Long enough to be interrupted by an exit.


@pytest.fixture
def start():
    """Starts a process that runs `code` with a StopRequest; no process outlives the test."""
    processes = []

    def run(code):
        # Unbuffered, so that select() sees every line that was not read yet.
        process = subprocess.Popen(
            [sys.executable, "-c", _START + code], cwd=ROOT, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        assert _line(process) == "ready"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def _line(process):
    assert select.select([process.stdout], [], [], 30)[0], "the process printed nothing for 30 s"
    return process.stdout.readline().decode().strip()


def _send_until_it_ends(process, number):
    """The exit code. Signals within a second of the first are the same stop, so more may be needed."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        process.send_signal(number)
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it still ran after 30 s")


def _end(process):
    """(exit code, stderr, seconds until the process ended)"""
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


def test_a_signal_before_the_stop_request_exists_has_its_default_effect():
    code = "import signal\nsignal.raise_signal(signal.SIGTERM)\n" + _START
    process = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, timeout=30)
    assert process.returncode == -signal.SIGTERM


def test_threads_that_start_later_do_not_receive_the_signal(start):
    busy = "import threading\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    process = start(busy + _IN_NATIVE_CODE)
    process.send_signal(signal.SIGTERM)
    assert _end(process)[0] == 75


def test_during_training_the_first_signal_only_requests_a_stop(start):
    process = start(
        "stop.set_grace_period(60)\nprint('training', flush=True)\n"
        + _UNTIL_REQUESTED
        + "sys.stdin.read()\n"  # Until `_end`: the message comes after the request.
    )
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    assert _line(process) == "requested"
    assert process.stderr.readline().decode() == "muster: SIGTERM: saving, then stopping\n"
    exit_code, errors, _ = _end(process)
    assert (exit_code, errors) == (0, "")


def test_a_signal_that_arrives_in_two_ways_is_one_stop(start):
    process = start(
        "stop.set_grace_period(60)\nprint('training', flush=True)\n" + _UNTIL_REQUESTED + _SAVING
    )
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    assert _line(process) == "requested"
    process.send_signal(signal.SIGTERM)  # As from Slurm, and then from the guardian.
    exit_code, errors, _ = _end(process)
    assert exit_code == 0
    assert errors == "muster: SIGTERM: saving, then stopping\n"


def test_a_second_signal_ends_the_process_at_once(start):
    process = start(
        "stop.set_grace_period(60)\nprint('training', flush=True)\n"
        + _UNTIL_REQUESTED
        + _IN_NATIVE_CODE
    )
    assert _line(process) == "training"
    process.send_signal(signal.SIGINT)
    assert _line(process) == "requested"
    assert process.poll() is None
    _send_until_it_ends(process, signal.SIGINT)
    exit_code, errors, seconds = _end(process)
    assert exit_code == 75
    assert errors.splitlines()[1] == (
        "muster: error: stopped by a second signal; the last checkpoint is safe"
    )
    assert seconds < 5


def test_a_stop_that_takes_longer_than_the_grace_period_ends_the_process(start):
    process = start("stop.set_grace_period(0.2)\nprint('training', flush=True)\n" + _IN_NATIVE_CODE)
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    exit_code, errors, seconds = _end(process)
    assert exit_code == 75
    assert errors.splitlines()[1] == (
        "muster: error: not finished within --stop_grace_s=0.2 s of SIGTERM; the last checkpoint "
        "is safe"
    )
    assert 0.15 < seconds < 5


def test_a_signal_ends_a_process_whose_output_nobody_reads(start):
    process = start(_IN_NATIVE_CODE)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 75


def test_a_process_whose_output_nobody_reads_still_saves_first(start, tmp_path):
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
        time.sleep(0.01)  # Nothing reads its output, so the file is the only sign.
    assert _send_until_it_ends(process, signal.SIGTERM) == 75  # It still receives signals.


def test_without_a_signal_no_stop_is_requested(start):
    process = start("print(stop.requested, flush=True)\n")
    assert _line(process) == "False"
    assert _end(process)[0] == 0
