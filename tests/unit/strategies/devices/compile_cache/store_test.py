"""Are programs kept whole, and are damaged or old ones dropped?"""

import contextlib
import os
import subprocess
import threading

import pytest

from strategies.devices.compile_cache import store
from strategies.devices.compile_cache.store import Store

PROGRAM = bytes(range(256)) * 40
DAY_S = 24 * 3600.0


@pytest.fixture
def kept(tmp_path):
    return Store(tmp_path, "tensorflow-1", "a net")


def _file(root):
    (path,) = root.glob("*/*/*")
    return path


def test_a_program_is_read_as_it_was_written(kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    kept.write("two.pb", b"")
    kept.write("one.pb", PROGRAM)  # By another process, at the same time.
    assert dict(kept.read()) == {"one.pb": PROGRAM, "two.pb": b""}
    assert store.count(tmp_path) == (2, len(PROGRAM) + 64)


def test_programs_of_another_scope_or_platform_are_not_read(kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    assert not dict(Store(tmp_path, "tensorflow-1", "another net").read())
    assert not dict(Store(tmp_path, "tensorflow-2", "a net").read())


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: b"",
        lambda whole: whole[:20],
        lambda whole: os.urandom(len(whole)),
        lambda whole: whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
        lambda whole: whole + b"\0",
    ],
    ids="half short empty stub random one_bit longer".split(),
)
def test_a_damaged_program_is_deleted_and_not_read(damage, kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    path = _file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert not dict(kept.read())
    assert not path.exists()


def test_a_program_under_the_name_of_another_is_not_read(kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    _file(tmp_path).rename(_file(tmp_path).with_name("two.pb.program"))
    assert not dict(kept.read())


def test_a_link_and_a_folder_among_the_programs_are_not_read(kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    whole = _file(tmp_path)
    whole.rename(tmp_path / "moved")
    whole.symlink_to(tmp_path / "moved")
    whole.with_name("two.pb.program").mkdir()
    assert not dict(kept.read())
    assert (tmp_path / "moved").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_program_that_another_user_owns_is_not_read(kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    os.chown(_file(tmp_path), 12345, -1)
    assert not dict(kept.read())


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing(kept, tmp_path):
    (tmp_path / "tensorflow-1").touch()
    with pytest.raises(OSError):
        kept.write("one.pb", PROGRAM)
    assert not dict(kept.read())
    assert [path.name for path in tmp_path.iterdir()] == ["tensorflow-1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "muster-test", tmp_path]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        kept = Store(tmp_path, "tensorflow-1", "a net")
        kept.write("one.pb", PROGRAM)
        with pytest.raises(OSError, match="No space left"):
            kept.write("two.pb", PROGRAM * 10)
        assert dict(kept.read()) == {"one.pb": PROGRAM}
        assert len(list(tmp_path.glob("*/*/*"))) == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def _age(path, days, now):
    os.utime(path, (now - days * DAY_S, now - days * DAY_S))


def test_programs_not_used_for_a_month_are_pruned(kept, tmp_path):
    for name, days in (("old.pb", 31), ("new.pb", 29)):
        kept.write(name, PROGRAM)
        _age(next(tmp_path.glob(f"*/*/{name}*")), days, now=1e9)
    store.prune(tmp_path, now=1e9)
    assert _file(tmp_path).name == "new.pb.program"
    list(kept.read())  # Which uses it.
    assert _file(tmp_path).stat().st_mtime > 1.5e9


def test_the_least_recently_used_are_pruned_beyond_the_size(kept, tmp_path):
    for days, name in enumerate(("new.pb", "middle.pb", "old.pb")):
        kept.write(name, PROGRAM)
        _age(next(tmp_path.glob(f"*/*/{name}*")), days, now=1e9)
    store.prune(tmp_path, max_bytes=2 * len(PROGRAM) + 64, now=1e9)
    assert sorted(dict(kept.read())) == ["middle.pb", "new.pb"]


def test_files_left_by_a_killed_process_and_empty_folders_are_pruned_in_time(kept, tmp_path):
    kept.write("one.pb", PROGRAM)
    left = _file(tmp_path).rename(_file(tmp_path).with_name("one.pb.program.abc"))
    assert not dict(kept.read())
    now = left.stat().st_mtime
    store.prune(tmp_path, now=now + 60)
    assert left.exists()
    store.prune(tmp_path, now=now + 3700)
    assert not left.exists() and left.parent.exists()
    store.prune(tmp_path, now=now + 40 * DAY_S)
    assert list(tmp_path.iterdir()) == []


def test_pruning_leaves_what_is_not_its_own(tmp_path):
    own = tmp_path / "thesis.txt"
    own.touch()
    (tmp_path / "tensorflow-notes").mkdir()
    other = tmp_path / "tensorflow-notes" / "a.program"
    other.touch()
    store.prune(tmp_path, max_bytes=0, max_age_s=0, now=4e9)
    assert own.exists() and other.exists()


def test_a_folder_that_vanishes_while_it_is_read_is_no_error(kept, tmp_path):
    for name in ("one.pb", "two.pb"):
        kept.write(name, PROGRAM)
    programs = kept.read()
    next(programs)
    for path in tmp_path.glob("*/*/*"):
        path.unlink()
    assert list(programs) == []


def test_many_can_write_read_and_prune_one_folder_at_once(kept, tmp_path):
    errors = []

    def work(act):
        for _ in range(100):
            try:
                act()
            except FileNotFoundError:
                pass
            except Exception as error:
                errors.append(error)

    def read():
        assert all(content == PROGRAM for _, content in kept.read())

    acts = [lambda: kept.write("one.pb", PROGRAM), read, lambda: store.prune(tmp_path, max_bytes=0)]
    threads = [threading.Thread(target=work, args=(act,)) for act in acts * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    with contextlib.suppress(FileNotFoundError):
        kept.write("one.pb", PROGRAM)
    read()
