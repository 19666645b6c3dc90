"""What do the images for GPUs and TPUs do on a machine without a GPU or TPU?"""

import re
import time

import pytest

from tests.cluster.cluster import Process
from tests.containers import engine
from tests.containers.engine import PATIENCE_S

pytestmark = pytest.mark.long  # Gigabytes of packages.

NO_GPU = "no GPU was found, so the CPU trains; start a container with --gpus=all to use one"
QUICK = "--config.train.epochs=1", "--workdir=/tmp/one"
STRAY = re.compile(r"^[EFIW]\d{4} |Traceback|libcu|CUDA", re.MULTILINE)  # TensorFlow's own log.
# libcuda.so.1 comes with the driver, which --gpus makes available.
LOAD_CUDA = """
import ctypes, glob
paths = glob.glob("/opt/packages/lib/python3*/site-packages/nvidia/*/lib/lib*.so*")
for path in paths:
    try:
        ctypes.CDLL(path)
    except OSError as error:
        assert "libcuda.so.1" in str(error), error
print(len(paths))
"""


def ran(image, *args, code=0):
    """The lines that a container printed, which must exit with this code."""
    with Process(["run", "--rm", *engine.HARDENED, image, *args], program="docker") as container:
        assert container.wait(PATIENCE_S) == code, container.said
        assert not STRAY.search(container.said), container.said
        return container.screen


def test_the_gpu_image_trains_on_the_cpu_and_warns_once(gpu_image):
    screen = ran(gpu_image, *QUICK)
    assert [line[9:] for line in screen if "warning" in line] == [f"warning: {NO_GPU}"]
    assert "done | 24 steps" in screen[-1]


def test_check_in_the_gpu_image_reports_that_there_is_no_gpu(gpu_image):
    screen = ran(gpu_image, "check")
    place = screen.index("ok    devices   CPU:0")
    assert screen[place + 1].split(maxsplit=1) == ["warning:", NO_GPU]
    assert screen[-1] == "ready: `train` would start"


def test_every_cuda_library_in_the_gpu_image_can_be_loaded(gpu_image):
    run = "run", "--rm", "--entrypoint=python", gpu_image, "-c", LOAD_CUDA
    assert int(engine.docker(*run)) > 20


@pytest.mark.parametrize(
    "flag, problem",
    [
        ("--tpu=local", "`--tpu` found no TPU chip on this machine's PCI bus. Received: 'local'; "),
        ("--devices=1", "`--strategy=mirrored` needs the package tensorflow, as tensorflow-tpu "),
    ],
)
def test_the_tpu_image_reports_at_once_that_there_is_no_tpu(tpu_image, flag, problem):
    ran(tpu_image, "--help")  # So that the image is in the page cache.
    began = time.monotonic()
    screen = ran(tpu_image, *QUICK, flag, code=2)
    assert time.monotonic() - began < 10  # It takes 0.6 s; TensorFlow's own check takes minutes.
    assert screen[-1].startswith(f"muster: error: {problem}")
    assert sum("error" in line for line in screen) == 1


def test_the_tpu_image_reports_what_a_tpu_would_need(tpu_image):
    screen = ran(tpu_image, "check", "--tpu_topology=v5e:2x4")
    (found,) = [line for line in screen if line.startswith("ok    tpu ")]
    assert "v5e:2x4, 8 cores of TPU v5 lite: it compiles" in found
    assert screen[-1] == "ready: `train` would start on v5e:2x4"


def test_the_images_have_the_sizes_in_the_dockerfile(image, gpu_image, tpu_image):
    head = (engine.ROOT / "docker" / "Dockerfile").read_text().replace("\n# ", " ")
    stated = re.search(
        r"Its size is (\S+) GB for CPUs, (\S+) GB for GPUs and (\S+) GB for a TPU", head
    )
    sizes = [engine.inspect(one)["Size"] / 1e9 for one in (image, gpu_image, tpu_image)]
    # New releases of packages change them a little.
    assert sizes == pytest.approx([*map(float, stated.groups())], rel=0.1)
