"""What do tests of containers share?

The images of this checkout, each built once per session. Without a Docker engine every test is skipped,
and the reason is printed.
"""

import pytest

from tests.containers import engine

_BUILD_S = 1800.0


@pytest.fixture(scope="session")
def image() -> str:
    """The image for CPUs. It is kept, so that the next session need not download the packages again."""
    return _built("cpu")


@pytest.fixture(scope="session")
def gpu_image() -> str:
    """The image for GPUs. It is kept too: 7 GB, and as much again for the builder."""
    return _built("gpu")


@pytest.fixture(scope="session")
def tpu_image() -> str:
    return _built("tpu")


def _built(device: str) -> str:
    if reason := engine.unavailable_reason():
        pytest.skip(f"no Docker engine is available: {reason}")
    tag, file = f"muster-test:{device}", str(engine.ROOT / "docker" / "Dockerfile")
    args = f"--build-arg=DEVICE={device}", f"--tag={tag}", f"--file={file}"
    engine.docker("build", *args, str(engine.ROOT), timeout_s=_BUILD_S)
    return tag
