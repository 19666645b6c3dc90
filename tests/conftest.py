"""What do tests share?

MNIST, where this machine has it, prepared once a session; a bucket; and the mark `long`, of tests that
only `make test-faults` runs: they are further cases of what a shorter one shows in `make test`.
"""

import gc
import hashlib
import os
import signal
from pathlib import Path

import hypothesis
import pytest

from strategies import tensorflow_import
from tests.buckets import servers
from tests.paths import ROOT
from trainer.config.schema import DataConfig
from trainer.data import registry
from trainer.data.sources import originals


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked `long`")


def pytest_configure(config):
    tensorflow_import.set_environ_defaults()  # As the program does: it decides bits.
    # A shell that runs `make test &` has SIGINT ignored, and so would all processes of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # No test fails because the machine is slow, nor `make test` because of a rare draw.
    hypothesis.settings.register_profile(
        "muster",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        derandomize=not config.getoption("--long"),
    )
    hypothesis.settings.load_profile("muster")
    config.addinivalue_line("markers", "long: runs only where --long is given")
    config.addinivalue_line("markers", "cold: starts its processes by exec, see cluster/cluster.py")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_sessionfinish(session, exitstatus):
    """With ARGS="-k NAME" one half of `make test` may have none of that name."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.getoption("keyword"):
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(autouse=True, scope="session")
def no_test_touches_the_home_folder(tmp_path_factory):
    """Data sets and compiled programs go to empty folders, also for the processes tests start.

    These share what one of them has compiled.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tensorflow_datasets")))
        yield


@pytest.fixture(autouse=True)
def start_by_exec_where_it_is_the_subject(request, monkeypatch):
    if request.node.get_closest_marker("cold"):
        monkeypatch.setattr("tests.cluster.cluster.is_warm", False)


@pytest.fixture
def bucket(request, monkeypatch):
    """An empty bucket, to which this process and those it starts are led.

    Of Google's kind, unless a test is parametrized with another.
    """
    with servers.serving(getattr(request, "param", "gs")) as server:
        servers.lead_to(server, monkeypatch)
        yield server
    gc.collect()  # What a client leaves open is this test's, and not a later one's.


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the four original MNIST files: MUSTER_MNIST_DIR, or beside the checkout."""
    named = os.environ.get("MUSTER_MNIST_DIR")
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "mnist"
    missing = [
        file.name for file in originals.recorded("mnist") if not (folder / file.name).is_file()
    ]
    if missing:
        pytest.skip(f"needs the four original MNIST files; {folder} lacks {', '.join(missing)}")
    return folder


@pytest.fixture(scope="session")
def prepared_mnist(mnist_dir, pytestconfig) -> Path:
    """A `data.dir` in which tensorflow-datasets has prepared MNIST; leave it as it is.

    What this very code has prepared in an earlier session is taken: both halves of `make test` need it.
    """
    sources = ROOT / "trainer" / "data" / "sources"
    files = [sources / name for name in ("mnist.py", "tfds.py", "tfds_process.py")]
    of = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]
    folder = pytestconfig.cache.mkdir(f"prepared_mnist_{of}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSTER_MNIST_DIR", str(mnist_dir))
        registry.load(
            DataConfig(name="mnist", dir=str(folder), train_examples=0, download_timeout_s=300)
        )
    return folder
