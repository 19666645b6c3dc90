"""Is a folder that cannot take a run's files refused before the run, and left as it was?"""

import os
import threading

import pytest

from strategies.errors import Resumable
from trainer.config import load as config_load
from trainer.storage import atomic_files
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir, saved_steps

CONFIG = config_load.resolve("digits_dense")
FILES = ["metrics.jsonl", "examples-0.jsonl", "summary.json", "config.json", "trials.json"]
FOLDERS = ["checkpoints", "tensorboard", "plots", "trials"]


def _refusal(workdir):
    """The one line with which `check` and `train` both refuse the folder."""
    with pytest.raises(WorkdirError) as checked:
        workdir.examine(CONFIG)
    with pytest.raises(WorkdirError) as claimed, workdir.claim(CONFIG, 1.0):
        pass
    assert str(checked.value) == str(claimed.value)
    assert len(str(claimed.value).splitlines()) == 1
    return str(claimed.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("away", path)])
def test_what_is_no_regular_file_is_refused_before_the_run(tmp_path, name, make):
    make(tmp_path / name)
    assert str(tmp_path / name) in _refusal(Workdir(tmp_path))


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("away", path)])
def test_what_should_be_a_folder_is_refused_before_the_run(tmp_path, name, make):
    make(tmp_path / name)
    assert str(tmp_path / name) in _refusal(Workdir(tmp_path))


def test_a_folder_whose_target_is_away_does_not_count_as_empty(tmp_path):
    (tmp_path / "checkpoints").symlink_to("not-mounted")
    with pytest.raises(WorkdirError, match="cannot be read .No such file or directory."):
        saved_steps(tmp_path / "checkpoints")
    assert saved_steps(tmp_path / "nothing") == []


def test_a_refused_folder_keeps_its_files(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("kept\n")
    (tmp_path / "checkpoints").symlink_to("not-mounted")
    _refusal(Workdir(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_text() == "kept\n"
    assert not (tmp_path / "config.json").exists()


def test_of_two_first_starts_the_second_is_refused_and_changes_nothing(tmp_path):
    """Both look at the folder while it is empty; only the lock decides."""
    other = config_load.resolve("digits_dense", {"train.seed": "3"})
    began, may_end = threading.Event(), threading.Event()

    def first():
        with Workdir(tmp_path).claim(CONFIG, 120.0):
            began.set()
            may_end.wait(120)

    thread = threading.Thread(target=first)
    with Workdir(tmp_path).lock(5.0):
        thread.start()
        with pytest.raises(Resumable), Workdir(tmp_path).claim(other, 0.5):
            pass
    assert began.wait(120)
    may_end.set()
    thread.join()
    late = Workdir(tmp_path).claim(other, 1.0)
    with pytest.raises(WorkdirError, match=r"`train\.seed` was 0"), late:
        pass
    assert Workdir(tmp_path).read_config() == CONFIG


def test_what_a_killed_write_left_is_deleted_and_other_files_are_kept(tmp_path):
    left = [".config.json.a1b2c3d4", ".summary.json._xy_1234", ".slices.png.abcdefgh"]
    kept = [".config.json", ".config.json.old", ".notes.json.abcdefgh", "config.json.abcdefgh"]
    for name in left + kept:
        (tmp_path / name).write_text("x")
    with Workdir(tmp_path).lock(1.0):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, ".lock"])


def test_a_renamed_file_and_a_made_folder_are_flushed_with_their_folders(tmp_path, monkeypatch):
    """In the order that survives a power failure: the content, the rename, the folder."""
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: done.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd)
    )
    monkeypatch.setattr(os, "replace", lambda *names: done.append("renamed") or replace(*names))
    atomic_files.make_folder(tmp_path / "a" / "b")
    assert done == [str(tmp_path / "a"), str(tmp_path)]
    done.clear()
    atomic_files.write_whole(tmp_path / "a" / "config.json", "{}")
    assert done[0].startswith(str(tmp_path / "a" / ".config.json."))
    assert done[1:] == ["renamed", str(tmp_path / "a")]
