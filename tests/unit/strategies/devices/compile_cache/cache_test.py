"""When is the cache on, and do programs from it give the same bits?"""

import hashlib
import os
import pathlib
import subprocess
import sys

import pytest

from strategies.devices.compile_cache import cache
from strategies.errors import ClusterError
from tests.paths import ROOT

PLAIN = {"HOME": "/", "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.mark.parametrize(
    "named, environ, reason",
    [
        ("off", {}, "--compile_cache=off"),
        ("", {"TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory=/x"}, "names another cache"),
        ("", {"TF_XLA_FLAGS": "/flags"}, "TF_XLA_FLAGS names a file, whose flags may change"),
        ("", {"XLA_FLAGS": "/flags"}, "XLA_FLAGS names a file"),
    ],
)
def test_why_it_is_off_is_said_and_nothing_changes(named, environ, reason):
    environ = {**PLAIN, "TF_CPP_MIN_LOG_LEVEL": "2", **environ}
    before = dict(environ)
    found = cache.find(named, environ)
    assert reason in found.reason and str(found).startswith("off: ") and not found.is_problem
    assert found.turn_on(environ) == found
    assert environ == before
    with found.in_use("a net"):  # Which does nothing.
        pass


def test_a_default_folder_that_cannot_be_used_turns_it_off(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "muster").mkdir()
    (tmp_path / "muster" / "xla").mkdir()
    (tmp_path / "muster" / "xla").chmod(0o777)
    found = cache.find("", {**PLAIN, "XDG_CACHE_HOME": str(tmp_path)})
    assert found.is_problem and "others can write to" in found.reason


@pytest.mark.parametrize("named", ["file", "file/below", "open"])
def test_a_named_folder_that_cannot_be_used_is_refused(named, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    path = str(tmp_path / named)
    with pytest.raises(ClusterError, match="`--compile_cache` must be a folder of yours") as caught:
        cache.find(path, PLAIN)
    assert f"Received: {path!r}; " in str(caught.value)


@pytest.mark.parametrize("given", ["", "--tf_xla_clustering_debug=false"])
@pytest.mark.parametrize("level, expected", [("2", "3"), ("1", "1"), ("0", "0")])
def test_turning_it_on_sets_flags_once_and_keeps_the_users(given, level, expected, tmp_path):
    environ = {**PLAIN, "TF_XLA_FLAGS": given, "TF_CPP_MIN_LOG_LEVEL": level}
    found = cache.find(str(tmp_path / "new"), environ)
    assert not (tmp_path / "new").exists()
    assert found.turn_on(environ) == found
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    flags = environ["TF_XLA_FLAGS"]
    assert flags.startswith(given) and "directory=ram://" in flags
    assert environ["TF_CPP_MIN_LOG_LEVEL"] == expected
    again = cache.find(str(tmp_path / "new"), environ)  # As in a process that inherits it.
    assert again == found
    again.turn_on(environ)
    assert environ["TF_XLA_FLAGS"] == flags


def test_a_folder_that_vanishes_between_finding_and_creating_it(tmp_path):
    (tmp_path / "a").mkdir()
    found = cache.find(str(tmp_path / "a" / "b"), PLAIN)
    (tmp_path / "a").rmdir()
    (tmp_path / "a").touch()
    with pytest.raises(ClusterError, match="cannot be created"):
        found.turn_on(dict(PLAIN))


_COMPUTES = """
import os, sys, traceback
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
from strategies.devices.compile_cache import cache
cache.hide_load_errors(os.environ)
import tensorflow as tf

@tf.function(jit_compile=True)
def program(x, w):
    for _ in range(5):
        x = tf.nn.relu(tf.matmul(x, w)) * 0.1 + tf.sin(x)
    return tf.reduce_sum(x)

def compute(named):
    with cache.find(named).turn_on().in_use("a net"):
        result = program(tf.reshape(tf.range(640.0), [10, 64]) / 7, tf.eye(64) * 0.3)
    print("bits", result.numpy().tobytes().hex(), flush=True)

while named := sys.stdin.readline().strip():
    if not os.fork():
        try:
            compute(named)
        except BaseException:
            print(traceback.format_exc().replace(chr(10), " "), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def bits():
    """Runs a program in a new process that uses the folder named, and returns what it prints.

    The processes are forked from one that has imported TensorFlow, as those of trials are.
    """
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _COMPUTES], cwd=ROOT, env=environ, text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip

        def run(named: pathlib.Path | str) -> str:
            process.stdin.write(f"{named}\n")
            line = process.stdout.readline()
            assert line.startswith("bits "), line
            return line

        yield run
        process.stdin.close()
        printed = process.stderr.read()
    assert "cpu_aot_loader" not in printed and "text_format" not in printed


@pytest.mark.timeout(300)
def test_programs_give_the_same_bits_cold_warm_damaged_and_where_nothing_can_be_kept(
    bits, tmp_path
):
    expected = bits("off")
    root = tmp_path / "kept"
    assert bits(root) == expected
    (path,) = root.glob("*/*/*.program")
    whole, modified = path.read_bytes(), path.stat().st_mtime_ns
    os.utime(path, (1e9, 1e9))
    assert bits(root) == expected
    assert path.read_bytes() == whole
    assert path.stat().st_mtime > 1e9  # It was used, and not written again.

    path.write_bytes(whole[:3000] + bytes([whole[3000] ^ 16]) + whole[3001:])
    assert bits(root) == expected
    (again,) = root.glob("*/*/*.program")
    assert again.stat().st_mtime_ns > modified
    name, file = again.name.removesuffix(".program"), again.read_bytes()
    assert hashlib.sha256(f"{name}\n".encode() + file[32:]).digest() == file[:32]

    again.unlink()
    again.parent.rmdir()
    again.parent.touch()  # So that nothing can be kept, as on a read-only file system; also for root.
    assert bits(root) == expected
