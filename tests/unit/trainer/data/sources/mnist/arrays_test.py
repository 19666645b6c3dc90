"""Is MNIST found, prepared and cached, and are missing or damaged files refused?"""

import concurrent.futures
import contextlib
import fcntl
import gzip
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.paths import ROOT
from trainer.config.schema import DataConfig
from trainer.data import registry
from trainer.data.dataset import DataError
from trainer.data.sources.mnist import arrays as mnist
from trainer.data.sources.mnist import locate
from trainer.data.sources.mnist.locate import Locations

_FINGERPRINT = "70ab21e87d610237e86a84513499b23db32ad01e867f0e8de390dfc46813b486"
_CACHE = Path("muster", f"mnist-{locate.VERSION}.npz")


def _config(data_dir="", download_timeout_s=300.0):
    return DataConfig(
        name="mnist",
        dir=str(data_dir),
        train_examples=0,
        download_timeout_s=download_timeout_s,
    )


def _message(function, *args):
    with pytest.raises(DataError) as error:
        function(*args)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def no_mnist(tmp_path, monkeypatch):
    """MNIST is not on this machine, unless a test puts it there."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("MUSTER_MNIST_DIR", raising=False)


@pytest.fixture
def proxied(monkeypatch):
    """Sends every HTTPS request to a port of this machine."""

    def send_to(port):
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")

    return send_to


@pytest.fixture
def offline(proxied):
    """Every HTTPS request goes to a port on which nothing listens: it is bound and stays closed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxied(unused.getsockname()[1])
        yield


@pytest.fixture
def prepared(prepared_mnist, tmp_path):
    """A copy of prepared MNIST that a test may damage, without the arrays of an earlier start."""
    shutil.copytree(prepared_mnist / "mnist", tmp_path / "prepared" / "mnist")
    return tmp_path / "prepared"


@contextlib.contextmanager
def _server(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


class _NotFound(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *args):
        pass


# Without the network.


@pytest.mark.parametrize("function", [registry.load, registry.describe])
def test_offline_the_error_names_three_fixes_within_ten_seconds(function, offline, tmp_path):
    begun = time.monotonic()
    message = _message(function, _config(tmp_path / "wanted"))
    assert time.monotonic() - begun < 10
    assert message.startswith(
        f"MNIST is not on this machine (searched {tmp_path}/wanted, {tmp_path}/tfds) and cannot "
        f"be downloaded from {locate.URL} (ProxyError): "
    )
    for fix in ("--config.data.dir=DIR", "MUSTER_MNIST_DIR", "--config=digits_dense"):
        assert fix in message
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_never_answers_is_an_error_at_the_deadline(proxied, monkeypatch):
    monkeypatch.setattr(locate, "_PROBE_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        proxied(silent.getsockname()[1])
        begun = time.monotonic()
        message = _message(registry.load, _config())
    assert "(no answer within 0.3 s)" in message
    assert time.monotonic() - begun < 5


def test_the_http_status_of_a_server_is_in_the_error():
    with _server(_NotFound) as url:
        assert locate._probe(url + "t10k-labels-idx1-ubyte.gz", 5) == "HTTP 404"


def test_there_is_no_error_where_the_server_has_the_file(tmp_path):
    (tmp_path / "file").touch()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with _server(Quiet) as url:
        assert locate._probe(url + "file", 5) == ""


# Folders that cannot be used.


def test_the_error_for_an_incomplete_data_dir_names_the_missing_files(tmp_path):
    names = list(locate.RAW_FILES)
    (tmp_path / names[0]).touch()
    assert _message(registry.describe, _config(tmp_path)) == (
        f"`data.dir` must hold the four original MNIST files. Received: {tmp_path}, without "
        f"{', '.join(names[1:])}; complete it, or train with --config=digits_dense."
    )


def test_muster_mnist_dir_without_the_files_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(tmp_path))
    assert _message(registry.describe, _config()).startswith(
        f"MUSTER_MNIST_DIR must hold the four original MNIST files. Received: {tmp_path}, without "
    )


def test_a_truncated_original_file_is_named_with_its_size(tmp_path):
    for name in locate.RAW_FILES:
        (tmp_path / name).write_bytes(b"short")
    assert _message(registry.load, _config(tmp_path)) == (
        f"{tmp_path}/train-images-idx3-ubyte.gz is damaged: it has 5 bytes instead of 9912422. "
        f"Copy it again from {locate.URL}train-images-idx3-ubyte.gz."
    )


def test_an_original_file_with_one_wrong_byte_is_named(mnist_dir, tmp_path):
    for name in locate.RAW_FILES:
        shutil.copyfile(mnist_dir / name, tmp_path / name)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(labels.read_bytes())
    content[2000] ^= 1
    labels.write_bytes(content)
    assert _message(registry.load, _config(tmp_path)).startswith(
        f"{labels} is damaged: it has a sha256 other than "
    )


def test_a_data_dir_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    assert _message(registry.load, _config(tmp_path / "file")) == (
        f"`data.dir` must be a folder. Received: {tmp_path}/file, which is not one."
    )


def test_a_data_dir_in_a_bucket_is_an_error():
    assert _message(registry.load, _config("gs://bucket/data")) == (
        "`data.dir` must be a folder on this machine. Received: gs://bucket/data; copy it first."
    )


def test_the_error_names_the_folders_that_cannot_be_written(mnist_dir, tmp_path, monkeypatch):
    read_only = tmp_path / "read_only"
    read_only.mkdir(mode=0o555)
    monkeypatch.setenv("TFDS_DATA_DIR", str(read_only / "tfds"))
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
    assert _message(registry.load, _config(read_only)) == (
        "`data.dir` must be a folder that can be written to, to prepare MNIST in. "
        f"Received: {read_only}, {read_only}/tfds; give another with --config.data.dir=DIR."
    )


# Which location is used.


def test_the_environment_is_read_into_locations():
    locations = Locations.from_env("", {"TFDS_DATA_DIR": "/tfds", "MUSTER_MNIST_DIR": "/mnist"})
    assert locations == Locations(None, Path("/tfds"), Path("/mnist"))
    home = Path("~/tensorflow_datasets").expanduser()
    assert Locations.from_env("/data", {}) == Locations(Path("/data"), home, None)


def test_prepared_data_comes_before_the_original_files(mnist_dir, tmp_path):
    folder = locate.prepared_dir(tmp_path / "tfds")
    folder.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        (folder / name).touch()
    plan = locate.plan(Locations(None, tmp_path / "tfds", mnist_dir))
    assert plan.raw_dir is None and plan.data_dir == tmp_path / "tfds"
    assert plan.what.startswith(f"MNIST is prepared in {tmp_path}/tfds")


def test_an_incomplete_preparation_does_not_count(mnist_dir, tmp_path):
    folder = locate.prepared_dir(tmp_path / "tfds")
    folder.mkdir(parents=True)
    (folder / "features.json").touch()
    assert locate.plan(Locations(None, tmp_path / "tfds", mnist_dir)).raw_dir == mnist_dir


def test_a_read_only_data_dir_with_the_files_is_not_written_to(mnist_dir, tmp_path):
    read_only = tmp_path / "raw"
    shutil.copytree(mnist_dir, read_only)
    read_only.chmod(0o555)
    plan = locate.plan(Locations(read_only, tmp_path / "tfds", None))
    assert plan.raw_dir == read_only and plan.data_dir == tmp_path / "tfds"
    assert plan.cache == tmp_path / "tfds" / _CACHE


def test_describing_the_original_files_writes_nothing(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
    assert registry.describe(_config(tmp_path / "new")) == (
        f"the four original MNIST files are in {mnist_dir}; the first start prepares them in "
        f"{tmp_path}/new, in about 20 s"
    )
    assert list(tmp_path.iterdir()) == []


# The arrays.


def _idx(path, header_bytes):
    return np.frombuffer(gzip.decompress(path.read_bytes())[header_bytes:], np.uint8)


def _examples(images, labels):
    return sorted(
        bytes([label]) + bytes(image) for image, label in zip(images, labels, strict=True)
    )


def test_the_examples_are_those_of_the_original_files(mnist_dir, prepared_mnist):
    dataset = registry.load(_config(prepared_mnist))
    for prefix, split in (("train", dataset.train), ("t10k", dataset.test)):
        images = _idx(mnist_dir / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(mnist_dir / f"{prefix}-labels-idx1-ubyte.gz", 8)
        assert _examples(split.features, split.targets) == _examples(images, labels)


def test_every_machine_has_mnist_in_the_same_order(prepared_mnist):
    dataset = registry.load(_config(prepared_mnist))
    assert dataset.fingerprint == _FINGERPRINT
    assert dataset.train.features.shape == (60000, 28, 28)
    assert (dataset.train.features.dtype, dataset.train.targets.dtype) == (np.uint8, np.int32)
    assert registry.describe(_config(prepared_mnist)).startswith("MNIST is ready in ")


def test_preparing_leaves_tensorflow_datasets_folder_and_no_temporary_files(prepared_mnist):
    import tensorflow_datasets as tfds

    assert tfds.builder("mnist", data_dir=prepared_mnist).is_prepared()
    assert sorted(path.name for path in prepared_mnist.iterdir()) == ["mnist", "muster"]
    assert sorted(path.name for path in (prepared_mnist / "muster").iterdir()) == [
        "lock",
        _CACHE.name,
    ]


def test_a_later_start_takes_under_a_second_and_no_tensorflow(prepared_mnist):
    code = (
        "import sys, time; from trainer.config.schema import DataConfig\n"
        "from trainer.data import registry\n"
        f"config = DataConfig(name='mnist', dir={str(prepared_mnist)!r},\n"
        "    train_examples=0, download_timeout_s=300)\n"
        "begun = time.process_time(); registry.load(config)\n"
        "print(time.process_time() - begun < 1, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["True", "False"]


def test_a_damaged_array_is_detected_and_made_again_from_the_prepared_data(
    prepared_mnist, prepared
):
    cache = prepared / _CACHE
    cache.parent.mkdir()
    content = bytearray((prepared_mnist / _CACHE).read_bytes())
    content[20_000_000] ^= 1
    cache.write_bytes(content)
    assert registry.load(_config(prepared)).fingerprint == _FINGERPRINT
    assert mnist._read(cache)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x80\x04N."])
def test_a_file_that_is_not_the_arrays_is_not_read(content, tmp_path):
    cache = tmp_path / "mnist.npz"
    cache.write_bytes(content)
    assert mnist._read(cache) is None


def test_arrays_of_other_shapes_are_not_read(tmp_path):
    cache = tmp_path / "mnist.npz"
    np.savez(cache, **{name: np.zeros((2, 2), dtype) for name, (_, dtype) in mnist.ARRAYS.items()})
    assert mnist._read(cache) is None


def test_a_truncated_record_file_is_an_error_that_names_its_folder(prepared):
    folder = locate.prepared_dir(prepared)
    records = next(folder.glob("mnist-train.tfrecord*"))
    os.truncate(records, records.stat().st_size // 2)
    message = _message(registry.load, _config(prepared))
    assert message.startswith(f"MNIST in {folder} cannot be read (DataLossError: ")
    assert message.endswith("; delete it, and the next start prepares it again.")
    assert [path.name for path in (prepared / "muster").iterdir()] == ["lock"]


# More than one task, and deadlines.


def test_two_tasks_that_start_together_prepare_once(prepared, monkeypatch):
    builds, build = [], mnist._build
    monkeypatch.setattr(mnist, "_build", lambda *args: (builds.append(args), build(*args)))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(registry.load, [_config(prepared)] * 2))
    assert [dataset.fingerprint for dataset in loaded] == [_FINGERPRINT] * 2
    assert len(builds) == 1


def test_a_task_that_waits_for_another_fails_at_the_deadline(prepared):
    lock = prepared / "muster" / "lock"
    lock.parent.mkdir()
    with lock.open("a") as other_task:
        fcntl.flock(other_task, fcntl.LOCK_EX)
        message = _message(registry.load, _config(prepared, download_timeout_s=0.3))
    assert message == (
        f"another task has locked {lock} for 0.3 s; if it is still preparing MNIST, raise "
        "`data.download_timeout_s`."
    )


def test_preparing_is_killed_at_the_deadline_and_leaves_no_files(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
    begun = time.monotonic()
    message = _message(registry.load, _config(tmp_path / "new", download_timeout_s=0.5))
    assert time.monotonic() - begun < 5
    assert message == (
        f"MNIST could not be prepared from {mnist_dir} in {tmp_path}/new: not finished within "
        "`data.download_timeout_s`=0.5; raise it."
    )
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert files == [tmp_path / "new" / "muster" / "lock"]


def test_the_builder_exits_with_its_parent(mnist_dir, tmp_path):
    job = {
        "data_dir": str(tmp_path / "data"),
        "raw_dir": str(mnist_dir),
        "cache": str(tmp_path / "arrays.npz"),
        "scratch": str(tmp_path / "scratch"),
    }
    builder = subprocess.Popen(
        [sys.executable, "-m", "trainer.data.sources.mnist.build", json.dumps(job)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    builder.stdin.close()  # As the operating system does when a parent is killed.
    assert builder.wait(timeout=15) == 1
    assert not (tmp_path / "arrays.npz").exists()
