"""Does a workdir in a bucket belong to one run, on any machine and after any failure?"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest

from strategies.errors import Resumable
from trainer.cli import parser as cli_parser
from trainer.cli.options import CheckOptions
from trainer.commands import check
from trainer.config import load as config_load
from trainer.storage import locate
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.remote import bucket as bucket_lib
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote import local_copy, uploader
from trainer.storage.remote import workdir as bucket_workdir
from trainer.storage.remote.address import Address
from trainer.storage.remote.errors import BucketError

CONFIG = config_load.resolve("digits_dense", {})
LONG_KINDS = ("s3", "az")

# Google's client does not close the connection of a download that was refused.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def machine(bucket, monkeypatch, tmp_path):
    """`machine(name)` simulates a move to another machine: another TMPDIR."""
    for module, name, value in (
        (lease_lib, "_POLL_EVERY_S", 0.05),
        (lease_lib, "RENEW_EVERY_S", 0.2),
        (uploader, "_POLL_EVERY_S", 0.05),
        (uploader, "_RETRY_AFTER_S", 0.2),
        (bucket_lib, "DEADLINE_S", 0.5),
        (bucket_workdir, "FLUSH_TIMEOUT_S", 1.5),
        (bucket_workdir, "REFRESH_EVERY_S", 0.0),
    ):
        monkeypatch.setattr(module, name, value)

    def move(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))

    move("first")
    return move


def _url(bucket) -> str:
    return f"{bucket.folder_url}/runs/one"


@contextlib.contextmanager
def _locked(bucket, config=CONFIG):
    workdir = locate.open_workdir(_url(bucket))
    workdir.initialize(config)
    with workdir.lock(30):
        yield workdir


@pytest.fixture
def expire(monkeypatch):
    """From its call on, leases of the dead expire soon. Those of the living would on a slow machine."""
    return lambda: monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.5)


def _until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_opening_a_workdir_makes_no_request(bucket, machine, tmp_path):
    workdir = locate.open_workdir(_url(bucket))
    assert str(workdir.checkpoints).startswith(str(tmp_path / "first"))
    assert bucket.requests == []
    assert not workdir.path.exists()


def test_everything_written_is_in_the_bucket_after_a_flush_and_on_exit(bucket, machine):
    with _locked(bucket) as workdir:
        workdir.metrics.write_text("one\n")
        workdir.flush()
        assert bucket.read("runs/one/metrics.jsonl") == b"one\n"
        workdir.metrics.write_text("one\ntwo\n")
    assert bucket.read("runs/one/metrics.jsonl") == b"one\ntwo\n"
    assert bucket.names("runs/one") == [".holder", "config.json", "metrics.jsonl"]


def test_a_new_checkpoint_is_uploaded_at_once_with_all_other_changes(bucket, machine):
    with _locked(bucket) as workdir:
        _until(lambda: "config.json" in bucket.names("runs/one"))
        workdir.metrics.write_text("one\n")
        building = workdir.checkpoints / ".building"
        building.mkdir(parents=True)
        (building / "manifest.json").write_text("{}")
        building.rename(workdir.checkpoints / "step-0000000010")  # As a whole, as a save does.
        _until(lambda: "checkpoints/step-0000000010/manifest.json" in bucket.names("runs/one"))
        assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_a_run_resumes_on_another_machine_and_then_on_the_first_again(bucket, machine):
    for turn, name in enumerate(["first", "second", "first"]):
        machine(name)
        with _locked(bucket) as workdir:
            lines = workdir.metrics.read_text().splitlines() if turn else []
            assert lines == [str(before) for before in range(turn)]
            workdir.metrics.write_text("".join(f"{line}\n" for line in [*lines, turn]))


def test_check_reports_what_train_would_find(bucket, machine):
    def found() -> tuple[bool | None, str]:
        options = cli_parser.parse(["check", f"--workdir={_url(bucket)}"])
        assert isinstance(options, CheckOptions)
        parts = check.examine(options)
        return next((is_well, word) for name, is_well, word in parts if name == "workdir")

    assert found() == (True, f"{_url(bucket)}: would be created")
    with _locked(bucket):
        pass
    assert found() == (True, f"{_url(bucket)}: a run of this config, which would resume")
    bucket.status = 503
    is_well, word = found()
    assert is_well is False and "could not be listed" in word


def test_another_config_is_refused_before_anything_is_changed(bucket, machine):
    with _locked(bucket):
        pass
    before = {name: bucket.read(f"runs/one/{name}") for name in bucket.names("runs/one")}
    machine("second")
    other = config_load.resolve("digits_dense", {"train.seed": "3"})
    with pytest.raises(
        WorkdirError, match=rf"`train\.seed` was 0\. Received: 3 for '{_url(bucket)}'"
    ):
        locate.open_workdir(_url(bucket)).initialize(other)
    assert before == {name: bucket.read(f"runs/one/{name}") for name in bucket.names("runs/one")}


def test_a_config_that_another_run_wrote_before_the_lock_is_refused(bucket, machine):
    late = locate.open_workdir(_url(bucket))
    late.initialize(config_load.resolve("digits_dense", {"train.seed": "3"}))
    with _locked(bucket):
        pass
    machine("second")
    with pytest.raises(WorkdirError, match=r"`train\.seed` was 0"), late.lock(30):
        pass
    with _locked(bucket):
        pass  # The lease was released.


def test_a_second_run_at_the_same_time_is_refused_on_the_same_and_on_another_machine(
    bucket, machine, monkeypatch
):
    now = [1000.0]

    def sleep_until_it_is_renewed(seconds: float) -> None:
        before = bucket.read("runs/one/.holder")
        _until(lambda: bucket.read("runs/one/.holder") != before)
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep_until_it_is_renewed)
    monkeypatch.setattr(lease_lib, "time", clock)
    monkeypatch.setattr(lease_lib, "_POLL_EVERY_S", 0.8 * lease_lib.EXPIRY_S)
    with _locked(bucket):
        waiting = locate.open_workdir(_url(bucket))
        waiting.initialize(CONFIG)
        with pytest.raises(Resumable, match=f"in use by another run. Received: '{_url(bucket)}'"):
            waiting.acquire_lock(0)
        machine("second")
        waiting = locate.open_workdir(_url(bucket))
        waiting.initialize(CONFIG)
        with (
            pytest.raises(Resumable, match=f"in use by another run .*{_url(bucket)}"),
            waiting.lock(2.5 * lease_lib.EXPIRY_S),
        ):
            pass


def test_a_bucket_that_was_unavailable_is_updated_later(bucket, machine):
    with _locked(bucket) as workdir:
        workdir.flush()
        bucket.status = 503
        workdir.metrics.write_text("one\n")
        with pytest.raises(Resumable, match="could not be written.*kept on this machine"):
            workdir.flush()
        bucket.status = 0
        workdir.flush()
        assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_files_that_were_not_uploaded_are_uploaded_by_the_next_run(bucket, machine):
    with _locked(bucket) as workdir:
        workdir.flush()
        bucket.status = 503
        workdir.metrics.write_text("only here\n")
    bucket.status = 0
    assert "metrics.jsonl" not in bucket.names("runs/one")
    with _locked(bucket):
        pass
    assert bucket.read("runs/one/metrics.jsonl") == b"only here\n"


def test_after_a_takeover_the_other_machines_files_are_the_newer_ones(bucket, machine, expire):
    with _locked(bucket) as workdir:
        workdir.flush()
        bucket.status = 503
        workdir.metrics.write_text("first\n")
    bucket.status = 0
    machine("second")
    expire()
    with _locked(bucket) as workdir:  # The first did not release its lease, which must expire.
        assert not workdir.metrics.exists()
        workdir.metrics.write_text("second\n")
    machine("first")
    with _locked(bucket) as workdir:
        assert workdir.metrics.read_text() == "second\n"


def test_a_machine_that_lost_its_temporary_files_fetches_them_again(bucket, machine):
    with _locked(bucket) as workdir:
        workdir.metrics.write_text("one\n")
    workdir.metrics.unlink()
    with _locked(bucket) as workdir:
        assert workdir.metrics.read_text() == "one\n"
    assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_an_interrupted_fetch_is_repeated_and_removes_nothing(bucket, machine, expire):
    folder = Address.parse(_url(bucket)).open()
    with _locked(bucket) as workdir:
        workdir.metrics.write_text("one\n")
        (workdir.path / "later").write_text("two\n")
    before = sorted(folder.versions())

    def fail_at_the_second_file() -> None:
        if bucket.downloads >= before_fetch + 4:  # config.json to compare, the lease, and one file.
            bucket.status = 503

    before_fetch = bucket.downloads
    machine("second")
    bucket.before_request = fail_at_the_second_file
    with pytest.raises(Resumable, match="could not be read"), _locked(bucket):
        pass
    bucket.before_request, bucket.status = lambda: None, 0
    expire()  # The interrupted run could not release its lease.
    with _locked(bucket) as workdir:
        assert workdir.metrics.read_text() == "one\n"
        assert (workdir.path / "later").read_text() == "two\n"
    assert sorted(folder.versions()) == before


def test_an_object_that_was_removed_from_the_bucket_is_uploaded_again(bucket, machine):
    folder = Address.parse(_url(bucket)).open()
    with _locked(bucket) as workdir:
        workdir.metrics.write_text("one\n")
    folder.remove("metrics.jsonl", folder.version("metrics.jsonl"))
    with _locked(bucket):
        pass
    assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_a_full_local_disk_is_reported_in_one_line(bucket, machine, monkeypatch):
    with _locked(bucket) as workdir:
        workdir.metrics.write_text("one\n" * 100_000)
    machine("second")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with (
            pytest.raises(WorkdirError, match=r"cannot be written \(File too large\)"),
            _locked(bucket),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_run_that_was_removed_from_the_bucket_starts_anew(bucket, machine):
    with _locked(bucket) as workdir:
        workdir.metrics.write_text("one\n")
    folder = Address.parse(_url(bucket)).open()
    for name, version in folder.versions().items():
        folder.remove(name, version)
    with _locked(bucket) as workdir:
        assert not workdir.metrics.exists()


def test_a_run_whose_lease_was_taken_ends_and_writes_no_more(bucket, machine, expire):
    """Its lease expired while its machine was suspended or disconnected."""
    program = f"""
import tempfile, time
from trainer.storage import locate
from trainer.config import load as config_load
from trainer.storage.remote import lease
lease.RENEW_EVERY_S = 1.0
workdir = locate.open_workdir({_url(bucket)!r})
workdir.initialize(config_load.resolve("digits_dense", {{}}))
with workdir.lock(30):
    workdir.flush()
    print("locked", flush=True)
    time.sleep(120)
"""
    is_stopped = threading.Event()

    def stop() -> None:
        """After a renewal, so that no half of a request keeps the server waiting for the rest."""
        bucket.after_write = lambda: None
        process.send_signal(signal.SIGSTOP)
        is_stopped.set()

    environ = {**os.environ, "TMPDIR": tempfile.tempdir}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "locked\n"
        bucket.after_write = stop
        assert is_stopped.wait(60)
        machine("second")
        expire()
        with _locked(bucket) as workdir:
            workdir.metrics.write_text("second\n")
            process.send_signal(signal.SIGCONT)
            _, output = process.communicate(timeout=60)
            workdir.flush()
    assert process.returncode == 75
    assert "another run has taken over the `--workdir` of this one" in output
    assert bucket.read("runs/one/metrics.jsonl") == b"second\n"


def test_an_evaluator_sees_new_files_and_uploads_its_own(bucket, machine):
    with _locked(bucket) as workdir:
        workdir.flush()
        machine("second")
        with locate.open_workdir(_url(bucket)).open_readonly() as copy:
            assert copy.read_config() == CONFIG
            assert copy.finished_steps() == 0
            (copy.path / "evaluator.jsonl").write_text("seen\n")
            copy.summary.write_text("not the trainer's")
            workdir.summary.write_text('{"steps": 7}')
            workdir.flush()
            copy.refresh()
            assert copy.finished_steps() == 7
    assert bucket.read("runs/one/evaluator.jsonl") == b"seen\n"
    assert bucket.read("runs/one/summary.json") == b'{"steps": 7}'
    machine("first")
    with _locked(bucket):
        pass
    assert "evaluator.jsonl" in bucket.names("runs/one")


def test_a_second_evaluator_is_refused(bucket, machine):
    with (
        locate.open_workdir(_url(bucket)).open_readonly() as one,
        locate.open_workdir(_url(bucket)).open_readonly() as two,
    ):
        (one.path / "evaluator.jsonl").write_text("one\n")
        one.refresh()
        (two.path / "evaluator.jsonl").write_text("two\n")
        with pytest.raises(WorkdirError, match="must have a single evaluator"):
            two.refresh()
        (two.path / "evaluator.jsonl").unlink()


def test_a_local_folder_that_others_can_access_is_refused(machine, tmp_path):
    root = tmp_path / "first" / f"muster-{os.getuid()}"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    with pytest.raises(BucketError, match="others can write or read it.*TMPDIR"):
        local_copy.create_root()
    root.rmdir()
    root.symlink_to(tmp_path)
    with pytest.raises(BucketError, match="TMPDIR"):
        local_copy.create_root()
    root.unlink()
    root.write_text("")
    with pytest.raises(BucketError, match="File exists"):
        local_copy.create_root()
