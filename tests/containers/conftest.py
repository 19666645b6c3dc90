"""What do tests of containers share? The images of this checkout, each built once a session.

Where no Docker engine answers, every test says so and is skipped.
"""

import pytest

from tests.containers import engine

_BUILD_S = 1800.0


@pytest.fixture(scope="session")
def image() -> str:
    """The image for CPUs. It stays, so that the next session's packages need not be fetched again."""
    return _built("cpu")


@pytest.fixture(scope="session")
def gpu_image() -> str:
    """It stays too: 7 GB, and as much again for the builder."""
    return _built("gpu")


@pytest.fixture(scope="session")
def tpu_image() -> str:
    return _built("tpu")


def _built(device: str) -> str:
    if why := engine.absence():
        pytest.skip(f"no Docker engine answers here: {why}")
    tag, file = f"muster-test:{device}", str(engine.ROOT / "docker" / "Dockerfile")
    given = f"--build-arg=DEVICE={device}", f"--tag={tag}", f"--file={file}"
    engine.docker("build", *given, str(engine.ROOT), timeout_s=_BUILD_S)
    return tag
