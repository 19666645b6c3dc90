"""Is a user told why the CPU trains, but only where a GPU was expected?"""

import pytest

from strategies.devices import gpus

CPU, CUDA = ["CPU:0"], {"nvidia-cudnn-cu12": "9.3.0"}


@pytest.fixture
def gpu(tmp_path):
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    return str(tmp_path / "nvidia[0-9]*")


def _why_none(files, packages, devices=CPU, **environ):
    return gpus.why_none(devices, environ, files, packages.get)


def test_gpu_packages_without_a_gpu_are_reported(tmp_path):
    (tmp_path / "nvidiactl").touch()  # The driver's own, without a GPU.
    reason = _why_none(str(tmp_path / "nvidia[0-9]*"), CUDA)
    assert (
        reason
        == "no GPU was found, so the CPU trains; start a container with --gpus=all to use one"
    )


def test_a_gpu_without_its_packages_is_reported(gpu):
    assert "tensorflow[and-cuda]" in _why_none(gpu, {})


def test_a_gpu_that_tensorflow_cannot_use_is_reported(gpu):
    assert _why_none(gpu, CUDA).startswith("TensorFlow cannot use the GPU here")
    assert _why_none(gpu, CUDA, CUDA_VISIBLE_DEVICES="0")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_not_reported(gpu, hidden):
    assert _why_none(gpu, CUDA, CUDA_VISIBLE_DEVICES=hidden) == ""


def test_nothing_is_reported_without_gpus_or_where_gpus_train(gpu, tmp_path):
    assert _why_none(str(tmp_path / "none"), {}) == ""
    assert _why_none(gpu, CUDA, ["GPU:0", "GPU:1"]) == _why_none(gpu, CUDA, []) == ""
