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
_PATIENCE_S = 60
_IN_NATIVE_CODE = "ctypes.CDLL(None).sleep(600)\n"  # One call, which does not hold Python's lock.
_UNTIL_REQUESTED = """
while not stop.requested:
    time.sleep(0.01)
print("requested", flush=True)
"""
# Once it has been told that it was sent all signals. Long enough to be interrupted by an exit.
_SAVING = "sys.stdin.readline()\ntime.sleep(0.9)\n"
_AT_LEISURE = "from trainer.process import signals\nsignals._SAME_STOP_S = 600\n"


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
    assert select.select([process.stdout], [], [], _PATIENCE_S)[0], "the process printed nothing"
    return process.stdout.readline().decode().strip()


def _send_until_it_ends(process, number):
    """The exit code. Signals within a second of the first are the same stop, so more may be needed."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        process.send_signal(number)
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"it still ran after {_PATIENCE_S} s")


def _end(process):
    """(exit code, stderr)"""
    _, errors = process.communicate(timeout=_PATIENCE_S)
    return process.returncode, errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [_IN_NATIVE_CODE, "while True: pass\n"])
def test_before_training_a_signal_ends_the_process_at_once(start, number, busy):
    process = start(busy)
    process.send_signal(number)
    exit_code, errors = _end(process)  # Of the 600 s for which it would be busy.
    assert exit_code == 75
    assert errors == (
        f"muster: error: stopped by {number.name} before the first step; run the same command "
        "again\n"
    )


def test_a_signal_before_the_stop_request_exists_has_its_default_effect():
    code = "import signal\nsignal.raise_signal(signal.SIGTERM)\n" + _START
    process = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, timeout=_PATIENCE_S
    )
    assert process.returncode == -signal.SIGTERM


def test_threads_that_start_later_do_not_receive_the_signal(start):
    busy = "import threading\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
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
    assert _end(process) == (0, "")


def test_a_signal_that_arrives_in_two_ways_is_one_stop(start):
    training = "stop.set_grace_period(600)\nprint('training', flush=True)\n"
    process = start(_AT_LEISURE + training + _UNTIL_REQUESTED + _SAVING)
    assert _line(process) == "training"
    process.send_signal(signal.SIGTERM)
    assert _line(process) == "requested"
    assert process.stderr.readline().decode() == "muster: SIGTERM: saving, then stopping\n"
    process.send_signal(signal.SIGTERM)  # As from Slurm, and then from the guardian.
    assert _end(process) == (0, "")


def test_a_second_signal_ends_the_process_at_once(start):
    process = start(
        "stop.set_grace_period(600)\nprint('training', flush=True)\n"
        + _UNTIL_REQUESTED
        + _IN_NATIVE_CODE
    )
    assert _line(process) == "training"
    process.send_signal(signal.SIGINT)
    assert _line(process) == "requested"
    assert process.poll() is None
    _send_until_it_ends(process, signal.SIGINT)
    exit_code, errors = _end(process)
    assert exit_code == 75
    assert errors.splitlines()[1] == (
        "muster: error: stopped by a second signal; the last checkpoint is safe"
    )


def test_a_stop_that_takes_longer_than_the_grace_period_ends_the_process(start):
    process = start("stop.set_grace_period(0.2)\nprint('training', flush=True)\n" + _IN_NATIVE_CODE)
    assert _line(process) == "training"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    exit_code, errors = _end(process)
    assert time.monotonic() - began > 0.15
    assert exit_code == 75
    assert errors.splitlines()[1] == (
        "muster: error: not finished within --stop_grace_s=0.2 s of SIGTERM; the last checkpoint "
        "is safe"
    )


def test_a_signal_ends_a_process_whose_output_nobody_reads(start):
    process = start(_IN_NATIVE_CODE)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=_PATIENCE_S) == 75


def test_a_process_whose_output_nobody_reads_still_saves_first(start, tmp_path):
    wait = "while not stop.requested:\n    time.sleep(0.01)\n"
    save = f"open({str(tmp_path / 'saved')!r}, 'x')\n"
    training = "stop.set_grace_period(600)\nprint('training', flush=True)\n"
    process = start(training + wait + save + _IN_NATIVE_CODE)
    assert _line(process) == "training"
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_S
    while not (tmp_path / "saved").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # Nothing reads its output, so the file is the only sign.
    assert _send_until_it_ends(process, signal.SIGTERM) == 75  # It still receives signals.


def test_without_a_signal_no_stop_is_requested(start):
    process = start("print(stop.requested, flush=True)\n")
    assert _line(process) == "False"
    assert _end(process)[0] == 0
