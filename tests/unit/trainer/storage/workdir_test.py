"""Does a workdir belong to one run, and are its files written as a whole?"""

import dataclasses
import json
import pathlib
import resource
import select
import subprocess
import sys

import pytest

from strategies.errors import Resumable
from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.storage import locate
from trainer.storage.atomic_files import WorkdirError, unwritable, write_json, write_whole
from trainer.storage.workdir import Workdir


def _config(**overrides):
    texts = {name.replace("__", "."): str(value) for name, value in overrides.items()}
    return config_load.resolve("digits_dense", texts)


def _message(function, *args):
    with pytest.raises(WorkdirError) as caught:
        function(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def _files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_is_created_with_its_parents_and_has_the_config(tmp_path):
    workdir = Workdir(tmp_path / "a" / "b")
    workdir.initialize(_config())
    assert workdir.read_config() == _config()
    assert _files(workdir.path) == ["config.json"]
    assert workdir.config.stat().st_mode & 0o777 == 0o644


def test_a_run_of_the_same_config_keeps_the_files_in_the_folder(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.initialize(_config())
    write_json(workdir.summary, {"steps": 480})
    workdir.metrics.write_text("kept\n")
    workdir.initialize(_config())
    assert workdir.finished_steps() == 480
    assert workdir.metrics.read_text() == "kept\n"


def test_a_run_without_a_summary_has_finished_no_steps(tmp_path):
    assert Workdir(tmp_path).finished_steps() == 0


def test_a_folder_of_another_config_is_refused_and_not_changed(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.initialize(_config())
    before = workdir.config.read_text()
    workdir.summary.write_text("{}")
    expected = (
        "`--workdir` was begun with another config: `optimizer.learning_rate` was 0.001. Received: "
        f"0.5 for {str(tmp_path)!r}; choose another folder, or use the old value."
    )
    other = _config(optimizer__learning_rate=0.5, train__seed=3)
    assert _message(workdir.initialize, other) == expected
    assert _message(workdir.examine, other) == expected
    assert workdir.config.read_text() == before and workdir.summary.exists()


def _another(field):
    """A value of this field other than its default."""
    if field.choices:
        return next((one for one in field.choices if one not in (field.default, "")), "other")
    return {bool: not field.default, str: "other", tuple[int, ...]: (3,)}.get(
        field.type, 0.25 if field.type is float else 7
    )


def _changed(config, name, value):
    section, _, leaf = name.rpartition(".")
    if not section:
        return dataclasses.replace(config, **{leaf: value})
    part = dataclasses.replace(getattr(config, section), **{leaf: value})
    return dataclasses.replace(config, **{section: part})


@pytest.mark.parametrize("field", list(config_lib.fields()), ids=lambda field: field.name)
def test_only_a_field_that_does_not_affect_the_weights_may_change_in_a_workdir(tmp_path, field):
    workdir = Workdir(tmp_path)
    config = ExperimentConfig("x")
    workdir.initialize(config)
    changed = _changed(config, field.name, _another(field))
    assert config_lib.differences(config, changed) == [field.name]
    if field.name in config_lib.TRAJECTORY_FREE:
        workdir.initialize(changed)
        assert json.loads(workdir.config.read_text()) == json.loads(config_lib.to_json(changed))
    else:
        assert f"`{field.name}` was" in _message(workdir.initialize, changed)


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_a_path_that_cannot_be_a_folder_is_reported_with_the_reason(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    workdir = Workdir(tmp_path / place)
    reason = {"file": "File exists", "file/below": "Not a directory"}.get(
        place, "File name too long"
    )
    assert _message(workdir.initialize, _config()) == (
        f"`--workdir` cannot be written ({reason}). Received: {str(workdir.path)!r}; choose a "
        "folder that you may write to."
    )
    assert _message(workdir.examine, _config()).startswith("`--workdir` cannot be written (")
    assert (tmp_path / "file").read_text() == "mine"


def test_examine_reports_what_would_happen_and_writes_nothing(tmp_path):
    fresh = Workdir(tmp_path / "new")
    assert fresh.examine(_config()) == f"{fresh.path}: would be created"
    assert not fresh.path.exists()
    assert Workdir(tmp_path).examine(_config()) == f"{tmp_path}: exists"
    fresh.initialize(_config())
    assert fresh.examine(_config()) == f"{fresh.path}: a run of this config, which would resume"


def test_a_relative_workdir_is_relative_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Workdir("runs/x").examine(_config()) == "runs/x: would be created"


@pytest.mark.parametrize("place", ["nothing", "x" * 300])
def test_a_folder_without_a_run_has_no_config_to_read(tmp_path, place):
    path = tmp_path / place
    assert _message(Workdir(path).read_config) == (
        f"`--workdir` holds no run. Received: {str(path)!r}; name a folder that `python -m trainer` "
        "wrote."
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0", '{"name": "x"}'])
def test_a_damaged_config_is_reported_and_not_overwritten(tmp_path, text):
    workdir = Workdir(tmp_path)
    workdir.config.write_text(text)
    with pytest.raises(ConfigError, match="config.json"):
        workdir.initialize(_config())
    assert workdir.config.read_text() == text


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert _files(tmp_path) == ["summary.json"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "summary.json"
    write_whole(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert _files(tmp_path) == ["summary.json"]


def test_a_folder_that_cannot_be_written_is_refused():
    workdir = Workdir("/proc/self/run")  # Not even root may create a folder there.
    assert _message(workdir.initialize, _config()).startswith("`--workdir` cannot be written (")


LOCK = """
import sys
from trainer.storage.workdir import Workdir
Workdir(sys.argv[1]).acquire_lock(60)
print("locked", flush=True)
sys.stdin.read()
"""


def _locking(folder):
    command = [sys.executable, "-c", LOCK, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_run_waits_until_the_first_is_killed(tmp_path):
    with _locking(tmp_path) as first:
        assert first.stdout.readline() == "locked\n"
        waiting = _locking(tmp_path)
        assert not select.select([waiting.stdout], [], [], 0.5)[0]
        first.kill()
    with waiting:
        assert waiting.stdout.readline() == "locked\n"
        waiting.kill()


def test_a_second_run_waits_no_longer_than_its_timeout(tmp_path):
    with _locking(tmp_path) as first:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(Resumable) as caught:
            Workdir(tmp_path).acquire_lock(0.3)
        assert (
            f"`--workdir` is in use by another run. Received: {str(tmp_path)!r}; stop that run"
            in str(caught.value)
        )
        first.kill()


@pytest.mark.parametrize("path", ["ftp://b/r", "hdfs://host/run"])
def test_a_workdir_in_an_unknown_kind_of_storage_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkdirError) as caught:
        locate.open_workdir(path)
    assert str(caught.value) == (
        "`--workdir` must be a folder on this machine or in a bucket (az://bucket/folder, "
        f"gs://bucket/folder, s3://bucket/folder). Received: '{path}'; train in a folder on this machine "
        "and copy it: a run resumes in a copy too."
    )
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_an_error_number_is_reported_by_its_text():
    error = unwritable(pathlib.Path("run"), OSError("the storage is gone"))
    assert str(error).startswith("`--workdir` cannot be written (the storage is gone). Received:")
