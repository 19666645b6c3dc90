"""Do health probes see whether a task makes progress?"""

import os
import re
import subprocess
import sys
import threading
import time

import pytest

from tests.paths import ROOT
from trainer.process import watchdog
from trainer.process.health import VARIABLE, Health, check

TIMEOUT_S = 60.0


def _probe(path, limit_s="120"):
    code = f"import runpy, sys; sys.argv = ['health', '{limit_s}']\n" + (
        "try: runpy.run_module('trainer.health', run_name='__main__')\n"
        "finally: print(sorted({'tensorflow', 'numpy', 'keras'} & {*sys.modules}))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, env={VARIABLE: str(path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_task_is_healthy_if_it_made_progress_within_the_limit(tmp_path):
    file = tmp_path / "health"
    Health(str(file)).record_progress()
    done = _probe(file)
    assert (done.returncode, done.stderr) == (0, "")
    line, imported = done.stdout.splitlines()
    assert _age_s(line) < 120 and imported == "[]"
    now = time.time()
    os.utime(file, (now - 300, now - 300))
    done = _probe(file)
    assert done.returncode == 1 and 300 <= _age_s(done.stdout) < 400
    assert _probe(file, "600").returncode == 0


def test_a_task_that_has_not_started_is_not_healthy_yet(tmp_path):
    done = _probe(tmp_path / "none")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith("no progress yet (")


def test_a_stalled_run_is_not_healthy_before_the_watchdog_ends_it(tmp_path):
    file = tmp_path / "health"
    with watchdog.Watchdog(60.0, on_progress=Health(str(file)).record_progress) as watch:
        _await(file.exists)
        os.utime(file, (0, 0))
        with pytest.raises(AssertionError):
            _await(lambda: file.stat().st_mtime, 2.5)  # In which the watchdog polls twice.
        watch.progress("training at step 1")
        _await(lambda: file.stat().st_mtime)
        assert check(str(file), 120.0)[0]


def test_a_task_that_serves_is_healthy_until_it_ends(tmp_path):
    file = tmp_path / "health"
    with Health(str(file)).recording():
        _await(file.exists)
        os.utime(file, (0, 0))
        _await(lambda: file.stat().st_mtime)
    _await(lambda: "health" not in {thread.name for thread in threading.enumerate()})


def test_without_a_file_that_can_be_written_nothing_happens(tmp_path):
    for path in ("", str(tmp_path / "no" / "such" / "folder")):
        with Health.from_env({VARIABLE: path}).recording():
            Health(path).record_progress()
    assert not [*tmp_path.iterdir()]


def _age_s(text):
    """The seconds that a probe printed, in which the time counts that the probe took to start."""
    return int(re.match(r"last progress (\d+) s ago", text)[1])


def _await(condition, timeout_s=TIMEOUT_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # No event reports the time of a file.
