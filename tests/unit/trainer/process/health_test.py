"""Can be told from outside whether a task comes on?"""

import os
import subprocess
import sys
import time

import pytest

from tests.paths import ROOT
from trainer.process import watchdog
from trainer.process.health import VARIABLE, Health, look

PATIENCE_S = 30.0


def _check(path, limit_s="120"):
    code = f"import runpy, sys; sys.argv = ['health', '{limit_s}']\n" + (
        "try: runpy.run_module('trainer.health', run_name='__main__')\n"
        "finally: print(sorted({'tensorflow', 'numpy', 'keras'} & {*sys.modules}))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, env={VARIABLE: str(path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_task_that_came_on_lately_is_well_and_one_that_did_not_is_not(tmp_path):
    file = tmp_path / "health"
    Health(str(file)).note()
    done = _check(file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["came on 0 s ago", "[]"]
    now = time.time()
    os.utime(file, (now - 300, now - 300))
    done = _check(file)
    assert done.returncode == 1 and done.stdout.startswith("came on 300 s ago")
    assert _check(file, "400").returncode == 0


def test_a_task_that_has_not_begun_is_not_well_yet(tmp_path):
    done = _check(tmp_path / "none")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith("no sign yet of a task that comes on (")


def test_a_run_that_stands_still_stops_being_well_before_it_is_ended(tmp_path):
    file = tmp_path / "health"
    with watchdog.Watchdog(60.0, on_progress=Health(str(file)).note) as watch:
        _await(file.exists)
        os.utime(file, (0, 0))
        with pytest.raises(AssertionError):
            _await(lambda: file.stat().st_mtime, 2.5)  # In which the watch looks twice.
        watch.progress("training at step 1")
        _await(lambda: file.stat().st_mtime)
        assert look(str(file), 120.0)[0]


def test_who_serves_is_well_until_it_is_over(tmp_path):
    file = tmp_path / "health"
    with Health(str(file)).kept():
        _await(file.exists)
        os.utime(file, (0, 0))
        _await(lambda: file.stat().st_mtime)
    os.utime(file, (0, 0))
    with pytest.raises(AssertionError):
        _await(lambda: file.stat().st_mtime, 2.5)


def test_without_a_file_or_with_one_that_cannot_be_written_nothing_happens(tmp_path):
    for path in ("", str(tmp_path / "no" / "such" / "folder")):
        with Health.from_env({VARIABLE: path}).kept():
            Health(path).note()
    assert not [*tmp_path.iterdir()]


def _await(is_so, timeout_s=PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # No event tells of a file's time.
