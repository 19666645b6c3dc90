"""What do tests of containers share? The image of this checkout, built once a session.

Where no Docker engine answers, every test says so and is skipped.
"""

import pytest

from tests.containers import engine

_BUILD_S = 1800.0


@pytest.fixture(scope="session")
def image() -> str:
    """The image for CPUs. It stays, so that the next session's packages need not be fetched again."""
    if why := engine.absence():
        pytest.skip(f"no Docker engine answers here: {why}")
    tag, file = "muster-test", str(engine.ROOT / "docker" / "Dockerfile")
    engine.docker("build", f"--tag={tag}", f"--file={file}", str(engine.ROOT), timeout_s=_BUILD_S)
    return tag
