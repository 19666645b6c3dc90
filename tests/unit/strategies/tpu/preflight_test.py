"""Is the absence of a TPU reported at once, with its cause?"""

import socket
import subprocess
import sys
import time

import pytest

from strategies.errors import ClusterError
from strategies.tpu.preflight import disable_library, preflight
from tests.paths import ROOT

_CPU = "or choose another --strategy to train without a TPU."
_READY = {"tensorflow-tpu": "2.20.0", "libtpu": "0.0.24"}
_BY_NAME = {**_READY, "google-api-python-client": "2.202.0", "oauth2client": "4.1.3"}


def _device(bus, slot, vendor, device):
    folder = bus / f"0000:00:{slot:02x}.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "device").write_text(f"{device}\n")


@pytest.fixture
def bus(tmp_path):
    """A PCI bus with a network card, a Google device other than a TPU, and a broken entry."""
    _device(tmp_path, 3, "0x1af4", "0x1000")
    _device(tmp_path, 4, "0x1ae0", "0x0042")
    (tmp_path / "0000:00:05.0").mkdir()
    return tmp_path


def _message(tpu, bus, packages):
    start = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        preflight(tpu, str(bus), packages.get)
    assert time.monotonic() - start < 30  # TensorFlow would wait for minutes.
    return str(caught.value)


@pytest.mark.parametrize("packages", [{}, {"tensorflow": "2.21.0"}, {"libtpu": "0.0.24"}])
def test_stock_tensorflow_cannot_use_a_tpu(bus, packages):
    assert _message("local", bus, packages) == (
        "`--tpu` needs the package tensorflow-tpu, as stock TensorFlow cannot use a TPU. Received: "
        "'local'; install tensorflow-tpu==2.20.0 and libtpu==0.0.24 without the package "
        f"tensorflow, {_CPU}"
    )


@pytest.mark.parametrize("other", ["tensorflow", "tensorflow-cpu"])
def test_two_builds_of_tensorflow_together_are_refused(bus, other):
    assert _message("local", bus, {**_READY, other: "2.21.0"}) == (
        f"`--tpu` needs tensorflow-tpu only, as the package {other} overwrites its files. "
        f"Received: 'local'; uninstall both and install tensorflow-tpu again, {_CPU}"
    )


def test_a_machine_without_a_chip_is_refused(bus):
    missing = (
        "`--tpu` found no TPU chip on this machine's PCI bus. Received: 'local'; run on a TPU VM, "
        f"{_CPU}"
    )
    assert _message("local", bus, _READY) == missing
    assert _message("local", bus / "nowhere", _READY) == missing


@pytest.mark.parametrize("chip", ["0x0027", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"])
def test_a_chip_on_the_bus_is_found(bus, chip):
    _device(bus, 6, "0x1ae0", chip)
    assert preflight("local", str(bus), _READY.get) is None


def test_another_vendors_device_with_the_same_id_is_not_a_chip(bus):
    _device(bus, 6, "0x10de", "0x0063")
    assert "found no TPU chip" in _message("local", bus, _READY)


@pytest.mark.parametrize("installed", ["google-api-python-client", "oauth2client"])
def test_a_named_tpu_needs_the_packages_that_look_it_up(bus, installed):
    (missing,) = {"google-api-python-client", "oauth2client"} - {installed}
    assert _message("pod-1", bus, {**_READY, installed: "4.0"}) == (
        "`--tpu` needs Google's API client to look up a TPU's name. Received: 'pod-1'; "
        f"install {missing}, {_CPU}"
    )


@pytest.mark.parametrize("product", ["VMware7,1", None])
def test_a_name_is_refused_outside_google_cloud_without_a_request(tmp_path, product):
    machine = tmp_path / "product_name"
    if product:
        machine.write_text(f"{product}\n")
    with pytest.raises(ClusterError) as caught:
        preflight("pod-1", version=_BY_NAME.get, product=str(machine), environ={})
    assert str(caught.value) == (
        "`--tpu` looks up a TPU's name in this machine's project and zone, but this is not Google Cloud. "
        "Received: 'pod-1'; run on a TPU VM, or give the TPU's addresses as in "
        f"grpc://10.0.0.2:8470, {_CPU}"
    )


@pytest.mark.parametrize(
    "product, environ",
    [
        ("Google Compute Engine", {}),
        ("Google", {"TPU_LOAD_LIBRARY": "0"}),
        ("", {"GCE_METADATA_HOST": "127.0.0.1:80"}),
    ],
)
def test_a_name_on_google_cloud_or_with_a_metadata_server_is_accepted(tmp_path, product, environ):
    (tmp_path / "product_name").write_text(f"{product}\n")
    found = preflight("pod-1", str(tmp_path), _BY_NAME.get, str(tmp_path / "product_name"), environ)
    assert found is None


def test_the_tpu_of_this_machine_needs_the_library(bus):
    _device(bus, 6, "0x1ae0", "0x0063")
    with pytest.raises(ClusterError) as caught:
        preflight("local", str(bus), _READY.get, environ={"TPU_LOAD_LIBRARY": "0"})
    assert str(caught.value) == (
        "`--tpu` names this machine's TPU, but TPU_LOAD_LIBRARY=0 disables its library. Received: "
        f"'local'; unset that, or name the TPU if it has several hosts, {_CPU}"
    )


def test_one_host_of_several_is_not_the_whole_tpu(bus):
    _device(bus, 6, "0x1ae0", "0x0063")
    preflight("local", str(bus), _READY.get, environ={"TPU_WORKER_HOSTNAMES": "localhost"})
    with pytest.raises(ClusterError) as caught:
        preflight("local", str(bus), _READY.get, environ={"TPU_WORKER_HOSTNAMES": "t-0,t-1"})
    assert str(caught.value) == (
        "`--tpu` is one of the 2 hosts that TPU_WORKER_HOSTNAMES names. Received: 'local'; run on one "
        f"host only, and name the TPU or all addresses as in grpc://10.0.0.2:8470,..., {_CPU}"
    )


@pytest.mark.parametrize(
    "tpu, before, after",
    [
        ("local", {}, {}),
        ("pod-1", {}, {"TPU_LOAD_LIBRARY": "0"}),
        ("grpc://10.0.0.2:8470", {}, {"TPU_LOAD_LIBRARY": "0"}),
        ("pod-1", {"TPU_LOAD_LIBRARY": "1"}, {"TPU_LOAD_LIBRARY": "1"}),
    ],
)
def test_the_library_is_disabled_for_a_tpu_over_the_network(tpu, before, after):
    environ = dict(before)
    disable_library(tpu, environ)
    assert environ == after


def test_an_endpoint_that_listens_is_accepted(bus):
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"grpc://127.0.0.1:{server.getsockname()[1]}"
        assert preflight(endpoint, str(bus), _READY.get) is None
        assert preflight(f"{endpoint},{endpoint}", str(bus), _READY.get) is None


def test_the_endpoint_that_does_not_listen_is_the_one_named(bus):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound and not listening, so no other process gets the port.
        port = closed.getsockname()[1]
        tpu = f"grpc://127.0.0.1:{server.getsockname()[1]},grpc://127.0.0.1:{port}"
        assert _message(tpu, bus, _READY) == (
            f"`--tpu` got no answer from grpc://127.0.0.1:{port} ([Errno 111] Connection refused). "
            f"Received: '{tpu}'; start the TPU, {_CPU}"
        )


@pytest.mark.parametrize("port", ["x", "99999"])
def test_an_endpoint_with_an_invalid_port_is_reported_as_one_that_does_not_answer(bus, port):
    tpu = f"grpc://127.0.0.1:{port}"
    assert _message(tpu, bus, _READY).startswith(f"`--tpu` got no answer from {tpu} (")


def test_tensorflow_is_not_imported():
    code = "import sys; import strategies.tpu.preflight; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


@pytest.mark.parametrize("libtpu", ["0.0.32", "0.0.40", "0.1.0"])
def test_a_libtpu_with_which_the_import_aborts_is_reported_before_the_import(bus, libtpu):
    assert _message("local", bus, {**_READY, "libtpu": libtpu}) == (
        f"`--tpu` cannot use libtpu {libtpu}, with which tensorflow-tpu 2.20.0 aborts. Received: "
        f"'local'; install tensorflow-tpu==2.20.0 and libtpu==0.0.24, {_CPU}"
    )


@pytest.mark.parametrize(
    "tensorflow, libtpu", [("2.20.0", "0.0.31.dev20260101"), ("2.19.1", "0.0.32")]
)
def test_a_compatible_libtpu_is_accepted(bus, tensorflow, libtpu):
    _device(bus, 6, "0x1ae0", "0x0063")
    packages = {"tensorflow-tpu": tensorflow, "libtpu": libtpu}
    assert preflight("local", str(bus), packages.get) is None


def test_a_missing_libtpu_is_reported(bus):
    assert _message("local", bus, {"tensorflow-tpu": "2.20.0"}) == (
        "`--tpu` needs the package libtpu beside tensorflow-tpu 2.20.0. Received: 'local'; install "
        f"tensorflow-tpu==2.20.0 and libtpu==0.0.24, {_CPU}"
    )
