"""Is it told that no GPU trains, to who may count on one and to nobody else?"""

import pytest

from strategies.devices import gpus

CPU, CUDA = ["CPU:0"], {"nvidia-cudnn-cu12": "9.3.0"}


@pytest.fixture
def gpu(tmp_path):
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    return str(tmp_path / "nvidia[0-9]*")


def _said(files, packages, devices=CPU, **environ):
    return gpus.why_none(devices, environ, files, packages.get)


def test_packages_for_gpus_without_one_are_told(tmp_path):
    (tmp_path / "nvidiactl").touch()  # The driver's own, without a GPU.
    said = _said(str(tmp_path / "nvidia[0-9]*"), CUDA)
    assert said == "no GPU was found, so the CPU trains; a container is given them by --gpus=all"


def test_a_gpu_without_its_packages_is_told(gpu):
    assert "tensorflow[and-cuda]" in _said(gpu, {})


def test_a_gpu_that_tensorflow_does_not_take_is_told(gpu):
    assert _said(gpu, CUDA).startswith("TensorFlow cannot use the GPU here")
    assert _said(gpu, CUDA, CUDA_VISIBLE_DEVICES="0")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_somebody_hid_are_not_missed(gpu, hidden):
    assert _said(gpu, CUDA, CUDA_VISIBLE_DEVICES=hidden) == ""


def test_who_has_no_part_in_gpus_or_trains_on_them_hears_nothing(gpu, tmp_path):
    assert _said(str(tmp_path / "none"), {}) == ""
    assert _said(gpu, CUDA, ["GPU:0", "GPU:1"]) == _said(gpu, CUDA, []) == ""
