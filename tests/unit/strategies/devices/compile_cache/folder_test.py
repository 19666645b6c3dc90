"""Which folders may hold code that this process executes, and what do their names separate?"""

import os
import pathlib

import pytest

from strategies.devices.compile_cache import folder
from strategies.devices.compile_cache.folder import RefusedError

PROCESSOR = (
    "processor: 0\nmodel name: Fast 3000\ncpu MHz: 1000.1\nflags: sse avx2\n\nprocessor: 1\n"
)


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/muster/xla"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/scratch"}, "/scratch/muster/xla"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "relative"}, "/home/me/.cache/muster/xla"),
        ({"HOME": "/"}, "/.cache/muster/xla"),
    ],
)
def test_the_default_folder_is_this_users(environ, expected):
    assert folder.default(environ) == pathlib.Path(expected)


def test_a_home_that_is_no_absolute_path_is_refused():
    with pytest.raises(RefusedError, match="HOME is not an absolute path: 'here'"):
        folder.default({"HOME": "here"})


def test_a_user_without_a_home_is_refused(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 7)  # A uid that no user has.
    with pytest.raises(RefusedError, match="this user has no home folder"):
        folder.default({})


def test_folders_are_created_for_this_user_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        folder.create(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [oct(one.stat().st_mode & 0o777) for one in (tmp_path / "a", tmp_path / "a" / "b")] == [
        "0o700",
        "0o700",
    ]


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_refused(mode, tmp_path):
    tmp_path.chmod(mode)
    with pytest.raises(RefusedError, match="others can write to .*; `chmod go-w` it"):
        folder.create(tmp_path)


def test_a_folder_that_others_can_only_read_is_taken(tmp_path):
    tmp_path.chmod(0o755)
    folder.check(tmp_path)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(RefusedError, match=rf"belongs to another user \(uid {owner}\)"):
        folder.check(tmp_path)


def test_a_file_and_a_folder_below_a_file_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="file is not a folder"):
        folder.check(tmp_path / "file")
    for use in (folder.check, folder.create):
        with pytest.raises(RefusedError, match="below cannot be"):
            use(tmp_path / "file" / "below")


def test_checking_creates_nothing(tmp_path):
    folder.check(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def _platform(tmp_path, environ=None, cpuinfo=PROCESSOR):
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    return folder.platform(environ or {}, str(path))


def test_the_name_separates_what_compiled_code_depends_on(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    names = [
        _platform(tmp_path),
        _platform(tmp_path, cpuinfo=PROCESSOR.replace("avx2", "avx2 avx512f")),
        _platform(tmp_path, cpuinfo=PROCESSOR.replace("3000", "4000")),
        _platform(tmp_path, {"TF_NUM_INTRAOP_THREADS": "77"}),
        _platform(tmp_path, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}),
        _platform(tmp_path, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    ]
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])
        try:
            names.append(_platform(tmp_path))
        finally:
            os.sched_setaffinity(0, cores)
    assert len(set(names)) == len(names)
    assert names[0].startswith("tensorflow-2.") and f"-{len(cores)}-cores-" in names[0]


def test_the_name_is_the_same_at_another_moment(tmp_path):
    later = PROCESSOR.replace("1000.1", "2600.0").replace("processor: 1", "processor: 7")
    assert _platform(tmp_path) == _platform(tmp_path, {"HOME": "/elsewhere"}, later)


def test_an_unknown_processor_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="does not describe the processor"):
        _platform(tmp_path, cpuinfo="nothing\n")
    with pytest.raises(RefusedError, match="cannot be read"):
        folder.platform({}, str(tmp_path / "missing"))
