"""Are data sets of tensorflow-datasets found, prepared once and mapped, and wrong files refused?

MNIST is one of them. Nothing is downloaded.
"""

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
from trainer.data import address, registry
from trainer.data.dataset import DataError
from trainer.data.sources import originals, tfds, tfds_plan, tfds_process
from trainer.data.sources.tfds_plan import Plan

_FINGERPRINT = "70ab21e87d610237e86a84513499b23db32ad01e867f0e8de390dfc46813b486"
_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_NAMES = [file.name for file in originals.recorded("mnist")]


def _config(data_dir="", download_timeout_s=300.0, **fields):
    fields = fields or {"name": "mnist"}
    return DataConfig(dir=str(data_dir), download_timeout_s=download_timeout_s, **fields)


def _plan(data_dir="", item="mnist", **environ) -> Plan:
    found = address.parse(_config(data_dir, source=f"tfds:{item}"))
    return tfds_plan.plan(found, {name: str(value) for name, value in environ.items()})


def _message(function, *args):
    with pytest.raises(DataError) as error:
        function(*args)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def no_data_sets(tmp_path, monkeypatch):
    """No data set is on this machine, unless a test puts it there."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("MUSTER_MNIST_DIR", raising=False)


@pytest.fixture
def proxied(monkeypatch):
    """Sends every request to a port of this machine."""

    def send_to(port):
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")

    return send_to


@pytest.fixture
def offline(proxied):
    """Every request goes to a port on which nothing listens: it is bound and stays closed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxied(unused.getsockname()[1])
        yield


@pytest.fixture
def prepared(prepared_mnist, tmp_path):
    """A copy of prepared MNIST that a test may damage, without the columns of an earlier start."""
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
@pytest.mark.parametrize(
    "fields, name, url",
    [
        ({"name": "mnist"}, "mnist", _URL),
        ({"source": "tfds:fashion_mnist"}, "fashion_mnist",
         "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
    ],
)  # fmt: skip
def test_offline_the_error_names_the_fixes_within_ten_seconds(
    function, fields, name, url, offline, tmp_path
):
    begun = time.monotonic()
    message = _message(function, _config(tmp_path / "wanted", **fields))
    assert time.monotonic() - begun < 10
    assert message == (
        f"{name} is not on this machine (searched {tmp_path}/wanted, {tmp_path}/tfds) and cannot be "
        f"downloaded from {url} (ProxyError): put its original files ({', '.join(_NAMES)}) in a folder "
        f"and name it with --config.data.dir=DIR or the variable MUSTER_{name.upper()}_DIR, or train on "
        "the embedded digits with --config=digits_dense."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_never_answers_is_an_error_at_the_deadline(proxied, monkeypatch):
    monkeypatch.setattr(tfds_plan, "_PROBE_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        proxied(silent.getsockname()[1])
        begun = time.monotonic()
        message = _message(registry.load, _config())
    assert "(no answer within 0.3 s)" in message
    assert time.monotonic() - begun < 60  # It takes 0.3 s; without a deadline it never ends.


def test_the_http_status_of_a_server_is_in_the_error():
    with _server(_NotFound) as url:
        assert tfds_plan._probe(url + "t10k-labels-idx1-ubyte.gz", 60) == "HTTP 404"


def test_there_is_no_error_where_the_server_has_the_file(tmp_path):
    (tmp_path / "file").touch()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with _server(Quiet) as url:
        assert tfds_plan._probe(url + "file", 60) == ""


# Folders that cannot be used.


def test_the_error_for_an_incomplete_data_dir_names_the_missing_files(tmp_path):
    (tmp_path / _NAMES[0]).touch()
    assert _message(registry.describe, _config(tmp_path)) == (
        f"`data.dir` must hold the original files of mnist. Received: {tmp_path}, without "
        f"{', '.join(_NAMES[1:])}; complete it, or train with --config=digits_dense."
    )


@pytest.mark.parametrize("how", ["variable", "option"])
def test_a_folder_that_is_named_for_the_files_must_have_them(how, tmp_path, monkeypatch):
    fields = {"source": "tfds:fashion_mnist"}
    if how == "variable":
        monkeypatch.setenv("MUSTER_FASHION_MNIST_DIR", str(tmp_path))
    else:
        fields["source"] += f",files={tmp_path}"
    named = {"variable": "MUSTER_FASHION_MNIST_DIR", "option": "`files` of `data.source`"}[how]
    assert _message(registry.describe, _config(**fields)).startswith(
        f"{named} must hold the original files of fashion_mnist. Received: {tmp_path}, without "
    )


def test_a_truncated_original_file_is_named_with_its_size(tmp_path):
    for name in _NAMES:
        (tmp_path / name).write_bytes(b"short")
    assert _message(registry.load, _config(tmp_path)) == (
        f"{tmp_path}/{_NAMES[0]} is damaged: it has 5 bytes instead of 1648877. "
        f"Copy it again from {_URL}{_NAMES[0]}."
    )


def test_another_data_set_under_the_same_names_is_called_by_its_name(tmp_path):
    for file in originals.recorded("fashion_mnist"):
        (tmp_path / file.name).write_bytes(bytes(file.size))
    assert _message(registry.load, _config(tmp_path)) == (
        f"{tmp_path}/{_NAMES[0]} must be the file of mnist. Received: the file of this name of "
        "fashion_mnist; train on fashion_mnist with --config.data.source=tfds:fashion_mnist, or copy the "
        f"other from {_URL}{_NAMES[0]}."
    )


def test_an_original_file_with_one_wrong_byte_is_named(mnist_dir, tmp_path):
    for name in _NAMES:
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
        "`data.dir` must be a folder that can be written to, to prepare mnist in. "
        f"Received: {read_only}, {read_only}/tfds; give another with --config.data.dir=DIR."
    )


# Which location is used.


@pytest.mark.parametrize("item", ["mnist", "mnist:3.0.1", "mnist/some:3.0.1"])
def test_prepared_data_comes_before_the_original_files(item, mnist_dir, tmp_path):
    folder = tmp_path / "tfds" / item.replace(":", "/")
    if not folder.name.startswith("3"):
        folder = folder / "3.0.1"
    folder.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        (folder / name).touch()
    where = {"TFDS_DATA_DIR": tmp_path / "tfds", "MUSTER_MNIST_DIR": mnist_dir}
    plan = _plan(item=item, **where)
    assert plan.is_prepared and plan.files is None and plan.root == tmp_path / "tfds"
    assert plan.what.startswith(f"mnist is prepared in {tmp_path}/tfds")
    (folder / "dataset_info.json").unlink()  # It is not complete.
    assert _plan(item=item, **where).files == mnist_dir


def test_a_read_only_data_dir_with_the_files_is_not_written_to(mnist_dir, tmp_path):
    read_only = tmp_path / "raw"
    shutil.copytree(mnist_dir, read_only)
    read_only.chmod(0o555)
    plan = _plan(read_only, TFDS_DATA_DIR=tmp_path / "tfds")
    assert plan.files == read_only and plan.root == tmp_path / "tfds"


def test_describing_the_original_files_writes_nothing(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
    assert registry.describe(_config(tmp_path / "new")) == (
        f"the original files of mnist are in {mnist_dir}; the first start prepares them in {tmp_path}/new"
    )
    assert list(tmp_path.iterdir()) == []


# Any data set that is prepared.


def test_a_data_set_is_read_whole_or_in_pieces_with_the_same_examples(tmp_path, monkeypatch):
    import tensorflow as tf
    import tensorflow_datasets

    rng = np.random.default_rng(0)
    rows = {"image": rng.integers(0, 256, (40, 4, 4, 1), np.uint8), "label": np.arange(40) % 3,
            "name": np.array([f"é{i}" for i in range(40)])}  # fmt: skip
    features = tensorflow_datasets.features.FeaturesDict(
        {
            "image": tensorflow_datasets.features.Image(shape=(4, 4, 1)),
            "label": tensorflow_datasets.features.ClassLabel(names=["ant", "bee", "cat"]),
            "name": tensorflow_datasets.features.Text(),
        }
    )
    splits = {"train": slice(0, 30), "test": slice(30, 40)}
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        name="tiny", version="1.0.0", data_dir=tmp_path / "tfds", features=features,
        disable_shuffling=True,
        split_datasets={
            name: tf.data.Dataset.from_tensor_slices({key: rows[key][own] for key in rows})
            for name, own in splits.items()
        },
    )  # fmt: skip
    fields = {"source": "tfds:tiny", "features": "image"}
    whole = registry.load(_config(tmp_path / "a", **fields))
    assert np.array_equal(whole.train.features, rows["image"][:30, ..., 0])
    assert np.array_equal(whole.test.targets, rows["label"][30:]) and whole.num_classes == 3
    monkeypatch.setattr(tfds, "_PIECE_BYTES", 20 * 30)
    # In this process, which has imported TensorFlow.
    monkeypatch.setattr(tfds_process.child, "run", lambda _, job, __: tfds_process._do(job) or "")
    assert registry.load(_config(tmp_path / "b", **fields)).fingerprint == whole.fingerprint
    shutil.rmtree(tmp_path / "tfds")  # Its columns stay.
    assert registry.load(_config(tmp_path / "a", **fields)).fingerprint == whole.fingerprint
    assert registry.describe(_config(tmp_path / "a", **fields)).startswith(
        "30 examples to train on"
    )


# MNIST.


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
    assert dataset.train.features.shape == (60000, 28, 28) and dataset.num_outputs == 10
    assert (dataset.train.features.dtype, dataset.train.targets.dtype) == (np.uint8, np.int32)
    assert (dataset.name, dataset.feature_scale) == ("mnist", 1 / 255)
    assert "prepared in" in registry.describe(_config(prepared_mnist))


def test_preparing_leaves_tensorflow_datasets_folder_and_no_temporary_files(prepared_mnist):
    import tensorflow_datasets

    assert tensorflow_datasets.builder("mnist", data_dir=prepared_mnist).is_prepared()
    left = sorted(path.name for path in prepared_mnist.iterdir() if path.name[0] != ".")
    assert left[:2] == ["mnist", "muster"] and left[2].startswith("tfds-") and len(left) == 3
    assert [path.name for path in (prepared_mnist / "muster").iterdir()] == ["lock-mnist"]


def test_a_later_start_takes_under_a_second_and_no_tensorflow(prepared_mnist):
    code = (
        "import sys, time; from trainer.config.schema import DataConfig\n"
        "from trainer.data import registry\n"
        f"config = DataConfig(name='mnist', dir={str(prepared_mnist)!r})\n"
        "begun = time.process_time(); registry.load(config)\n"
        "print(time.process_time() - begun < 1, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["True", "False"]


def test_a_truncated_record_file_is_an_error_that_names_its_folder(prepared):
    records = next((prepared / "mnist" / "3.0.1").glob("mnist-train.tfrecord*"))
    os.truncate(records, records.stat().st_size // 2)
    message = _message(registry.load, _config(prepared))
    assert message.startswith(f"mnist in {prepared}/mnist cannot be read (DataLossError: ")
    assert message.endswith("; delete it, and the next start prepares it again.")


@pytest.mark.long
def test_fashion_mnist_is_prepared_from_files_of_the_same_names(mnist_dir, tmp_path, monkeypatch):
    """By the package itself, which here takes MNIST's files for Fashion-MNIST's."""
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.image_classification import FashionMNIST

    known = {file.name: file for file in originals.recorded("mnist")}
    infos = {
        file.url: checksums.UrlInfo(known[file.name].size, known[file.name].sha256, file.name)
        for file in originals.recorded("fashion_mnist")
    }
    monkeypatch.setattr(FashionMNIST, "url_infos", infos)
    job = {
        "name": "fashion_mnist", "root": str(tmp_path), "files": str(mnist_dir),
        "scratch": str(tmp_path / "scratch"), "splits": ["train", "test"], "small": 2**28,
    }  # fmt: skip
    found = tfds_process._find(job)
    assert found["train/image"].shape == (60000, 28, 28, 1) and "Coat" in found["classes"]
    assert (tmp_path / "fashion_mnist").is_dir()


# More than one task, and deadlines.


@pytest.mark.long
def test_two_tasks_that_start_together_prepare_once(prepared, monkeypatch):
    jobs, run = [], tfds_process.run
    monkeypatch.setattr(tfds_process, "run", lambda *args: (jobs.append(args), run(*args))[1])
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(registry.load, [_config(prepared)] * 2))
    assert [dataset.fingerprint for dataset in loaded] == [_FINGERPRINT] * 2
    columns = [path for path in prepared.iterdir() if path.name.startswith("tfds-")]
    assert len(jobs) <= 2 and len(columns) == 1


def test_a_task_that_waits_for_another_fails_at_the_deadline(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
    lock = tmp_path / "new" / "muster" / "lock-mnist"
    lock.parent.mkdir(parents=True)
    with lock.open("a") as other_task:
        fcntl.flock(other_task, fcntl.LOCK_EX)
        message = _message(registry.load, _config(tmp_path / "new", download_timeout_s=0.3))
    assert message == (
        f"another task has locked {lock} for 0.3 s; if it is still preparing mnist, raise "
        "`data.download_timeout_s`."
    )


def test_preparing_is_killed_at_the_deadline_and_leaves_no_files(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
    begun = time.monotonic()
    message = _message(registry.load, _config(tmp_path / "new", download_timeout_s=0.5))
    assert time.monotonic() - begun < 30
    assert message == (
        f"mnist could not be prepared from {mnist_dir} in {tmp_path}/new: not finished within "
        "`data.download_timeout_s`=0.5; raise it."
    )
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert files == [tmp_path / "new" / "muster" / "lock-mnist"]


def test_the_process_exits_with_its_parent(mnist_dir, tmp_path):
    job = {
        "what": "find", "name": "mnist", "root": str(tmp_path / "data"), "files": str(mnist_dir),
        "scratch": str(tmp_path / "scratch"), "result": str(tmp_path / "result.npz"),
        "splits": ["train"], "small": 0,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.data.sources.tfds_process", json.dumps(job)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.stdin.close()  # As the operating system does when a parent is killed.
    assert process.wait(timeout=120) == 1
    assert not Path(job["result"]).exists()


def test_two_data_sets_are_refused_where_a_plan_is_made():
    found = _message(_plan, "", "mnist,fashion_mnist")
    assert found.startswith("`data.source=tfds:mnist,fashion_mnist` must name one data set. ")
