"""Is a workdir in a bucket one run's, wherever that goes on, and never worse for a failure?"""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time

import pytest

from strategies.errors import Resumable
from tests.bucket_server import BUCKET
from trainer.cli import parser as cli_parser
from trainer.commands import check
from trainer.config import load as config_load
from trainer.storage import locate
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.remote import gcs as objects_lib
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote import local_copy
from trainer.storage.remote import uploader as keeper_lib
from trainer.storage.remote import workdir as bucket_workdir
from trainer.storage.remote.errors import BucketError
from trainer.storage.remote.gcs import Address, Objects

URL = f"gs://{BUCKET}/runs/one"
CONFIG = config_load.resolve("digits_dense", {})

# Google's client leaves the connection of a download that was refused to Python to close.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def machine(bucket, monkeypatch, tmp_path):
    """A call `machine(name)` moves this process to another machine: to another TMPDIR."""
    for module, name, value in (
        (lease_lib, "_LOOK_EVERY_S", 0.05),
        (lease_lib, "EXPIRY_S", 1.5),
        (lease_lib, "BEAT_EVERY_S", 0.2),
        (keeper_lib, "_LOOK_EVERY_S", 0.05),
        (keeper_lib, "_AGAIN_AFTER_S", 0.2),
        (objects_lib, "DEADLINE_S", 0.5),
        (bucket_workdir, "SETTLE_S", 1.5),
        (bucket_workdir, "REFRESH_EVERY_S", 0.0),
    ):
        monkeypatch.setattr(module, name, value)

    def move(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))

    move("first")
    return move


@contextlib.contextmanager
def _held(config=CONFIG):
    workdir = locate.open_workdir(URL)
    workdir.initialize(config)
    with workdir.lock(30):
        yield workdir


def _until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_is_looked_at_before_it_is_claimed(bucket, machine, tmp_path):
    workdir = locate.open_workdir(URL)
    assert str(workdir.checkpoints).startswith(str(tmp_path / "first"))
    assert bucket.requests == []
    assert not workdir.path.exists()


def test_what_a_run_writes_is_in_the_bucket_once_it_is_settled(bucket, machine):
    with _held() as workdir:
        workdir.metrics.write_text("one\n")
        workdir.flush()
        assert bucket.read("runs/one/metrics.jsonl") == b"one\n"
        workdir.metrics.write_text("one\ntwo\n")
    assert bucket.read("runs/one/metrics.jsonl") == b"one\ntwo\n"
    assert bucket.names("runs/one") == [".holder", "config.json", "metrics.jsonl"]


def test_a_new_checkpoint_goes_at_once_and_all_else_with_it(bucket, machine):
    with _held() as workdir:
        _until(lambda: "config.json" in bucket.names("runs/one"))
        workdir.metrics.write_text("one\n")
        folder = workdir.checkpoints / "step-0000000010"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        _until(lambda: "checkpoints/step-0000000010/manifest.json" in bucket.names("runs/one"))
        assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_a_run_goes_on_on_another_machine_and_back_on_the_first(bucket, machine):
    for turn, name in enumerate(["first", "second", "first"]):
        machine(name)
        with _held() as workdir:
            lines = workdir.metrics.read_text().splitlines() if turn else []
            assert lines == [str(before) for before in range(turn)]
            workdir.metrics.write_text("".join(f"{line}\n" for line in [*lines, turn]))


def test_check_tells_what_train_would_find_there(bucket, machine):
    def found() -> tuple[bool | None, str]:
        parts = check.examine(cli_parser.parse(["check", f"--workdir={URL}"]))
        return next((is_well, word) for name, is_well, word in parts if name == "workdir")

    assert found() == (True, f"{URL}: would be made")
    with _held():
        pass
    assert found() == (True, f"{URL}: a run of this config, which would go on")
    bucket.status = 503
    is_well, word = found()
    assert is_well is False and "could not be listed" in word


def test_another_config_is_refused_before_anything_is_touched(bucket, machine):
    with _held():
        pass
    before = {name: bucket.read(f"runs/one/{name}") for name in bucket.names("runs/one")}
    machine("second")
    other = config_load.resolve("digits_dense", {"train.seed": "3"})
    with pytest.raises(WorkdirError, match=rf"`train\.seed` was 0\. Received: 3 for '{URL}'"):
        locate.open_workdir(URL).initialize(other)
    assert before == {name: bucket.read(f"runs/one/{name}") for name in bucket.names("runs/one")}


def test_a_config_that_another_run_brought_in_meanwhile_is_refused(bucket, machine):
    late = locate.open_workdir(URL)
    late.initialize(config_load.resolve("digits_dense", {"train.seed": "3"}))
    with _held():
        pass
    machine("second")
    with pytest.raises(WorkdirError, match=r"`train\.seed` was 0"), late.lock(30):
        pass
    with _held():
        pass  # It was given back.


def test_two_runs_at_once_on_one_machine_and_on_two_are_one_too_many(bucket, machine):
    with _held():
        waiting = locate.open_workdir(URL)
        waiting.initialize(CONFIG)
        with pytest.raises(Resumable, match=f"still at work there. Received: '{URL}'"):
            waiting.acquire_lock(0)
        machine("second")
        waiting = locate.open_workdir(URL)
        waiting.initialize(CONFIG)
        with pytest.raises(Resumable, match=f"still at work there .*{URL}"), waiting.lock(3.0):
            pass


def test_a_bucket_that_fails_meanwhile_is_brought_up_to_date_later(bucket, machine):
    with _held() as workdir:
        workdir.flush()
        bucket.status = 503
        workdir.metrics.write_text("one\n")
        with pytest.raises(Resumable, match="could not be written.*kept on this machine"):
            workdir.flush()
        bucket.status = 0
        workdir.flush()
        assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_what_the_bucket_did_not_take_is_here_for_the_next_run(bucket, machine):
    with _held() as workdir:
        workdir.flush()
        bucket.status = 503
        workdir.metrics.write_text("only here\n")
    bucket.status = 0
    assert "metrics.jsonl" not in bucket.names("runs/one")
    with _held():
        pass
    assert bucket.read("runs/one/metrics.jsonl") == b"only here\n"


def test_what_another_machine_took_over_is_newer_than_what_is_here(bucket, machine):
    with _held() as workdir:
        workdir.flush()
        bucket.status = 503
        workdir.metrics.write_text("first\n")
    bucket.status = 0
    machine("second")
    with _held() as workdir:  # The first did not give it back, and is waited for.
        assert not workdir.metrics.exists()
        workdir.metrics.write_text("second\n")
    machine("first")
    with _held() as workdir:
        assert workdir.metrics.read_text() == "second\n"


def test_a_machine_whose_temporary_files_were_tidied_up_fetches_them_again(bucket, machine):
    with _held() as workdir:
        workdir.metrics.write_text("one\n")
    workdir.metrics.unlink()
    with _held() as workdir:
        assert workdir.metrics.read_text() == "one\n"
    assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_a_fetch_that_ended_early_is_begun_again_and_takes_nothing_away(bucket, machine):
    objects = Objects(Address.parse(URL))
    with _held() as workdir:
        workdir.metrics.write_text("one\n")
        (workdir.path / "later").write_text("two\n")
    before = sorted(objects.generations())

    def fail_at_the_second() -> None:
        gets = [path for method, path in bucket.requests if method == "GET" and "alt=media" in path]
        if len(gets) >= 4:  # config.json to compare, the lease, and one file.
            bucket.status = 503

    machine("second")
    bucket.before_request = fail_at_the_second
    with pytest.raises(Resumable, match="could not be read"), _held():
        pass
    bucket.before_request, bucket.status = lambda: None, 0
    with _held() as workdir:
        assert workdir.metrics.read_text() == "one\n"
        assert (workdir.path / "later").read_text() == "two\n"
    assert sorted(objects.generations()) == before


def test_what_somebody_removed_from_the_bucket_alone_is_brought_in_again(bucket, machine):
    objects = Objects(Address.parse(URL))
    with _held() as workdir:
        workdir.metrics.write_text("one\n")
    objects.remove("metrics.jsonl", objects.generation("metrics.jsonl"))
    with _held():
        pass
    assert bucket.read("runs/one/metrics.jsonl") == b"one\n"


def test_a_disk_that_is_full_here_is_told_in_one_line(bucket, machine, monkeypatch):
    with _held() as workdir:
        workdir.metrics.write_text("one\n" * 100_000)
    machine("second")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(WorkdirError, match=r"cannot be written \(File too large\)"), _held():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_who_removed_the_run_from_the_bucket_begins_anew(bucket, machine):
    with _held() as workdir:
        workdir.metrics.write_text("one\n")
    objects = Objects(Address.parse(URL))
    for name, generation in objects.generations().items():
        objects.remove(name, generation)
    with _held() as workdir:
        assert not workdir.metrics.exists()


def test_a_run_that_another_took_over_ends_and_writes_no_more(bucket, machine):
    """It was silent for too long: its machine slept, or was cut off."""
    program = f"""
import tempfile, time
from trainer.storage import locate
from trainer.config import load as config_load
from trainer.storage.remote import lease
lease.BEAT_EVERY_S = 1.0
workdir = locate.open_workdir({URL!r})
workdir.initialize(config_load.resolve("digits_dense", {{}}))
with workdir.lock(30):
    workdir.flush()
    print("held", flush=True)
    time.sleep(60)
"""
    environ = {**os.environ, "TMPDIR": tempfile.tempdir}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        process.send_signal(19)
        machine("second")
        with _held() as workdir:
            workdir.metrics.write_text("second\n")
            process.send_signal(18)
            _, said = process.communicate(timeout=60)
            workdir.flush()
    assert process.returncode == 75
    assert "another run has taken the `--workdir` of this one" in said
    assert bucket.read("runs/one/metrics.jsonl") == b"second\n"


def test_an_evaluator_sees_what_comes_and_brings_in_its_own(bucket, machine):
    with _held() as workdir:
        workdir.flush()
        machine("second")
        with locate.open_workdir(URL).open_readonly() as copy:
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
    with _held():
        pass
    assert "evaluator.jsonl" in bucket.names("runs/one")


def test_a_second_evaluator_is_told_so(bucket, machine):
    with (
        locate.open_workdir(URL).open_readonly() as one,
        locate.open_workdir(URL).open_readonly() as two,
    ):
        (one.path / "evaluator.jsonl").write_text("one\n")
        one.refresh()
        (two.path / "evaluator.jsonl").write_text("two\n")
        with pytest.raises(WorkdirError, match="another evaluator"):
            two.refresh()
        (two.path / "evaluator.jsonl").unlink()


def test_a_place_of_somebody_elses_is_refused(machine, tmp_path):
    root = tmp_path / "first" / f"muster-{os.getuid()}"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    with pytest.raises(BucketError, match="others can write or read it.*TMPDIR"):
        local_copy.make_root()
    root.rmdir()
    root.symlink_to(tmp_path)
    with pytest.raises(BucketError, match="TMPDIR"):
        local_copy.make_root()
    root.unlink()
    root.write_text("")
    with pytest.raises(BucketError, match="File exists"):
        local_copy.make_root()
