"""Which faults happen in this session, and how is one of them repeated?

Every fault is drawn from the session's seed and the name of the test. So a single test can be repeated by
its name and `--fault_seed=SEED`. The seed is the same in every `make test`, which judges a change and not
a draw; `--long` draws a new one, and runs many more faults.
"""

import random
import secrets

import pytest

from tests.faults import runs

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser):
    group = parser.getgroup("faults")
    group.addoption("--fault_seed", type=int, help="repeats the faults of an earlier session")


def pytest_configure(config):
    given = config.getoption("--fault_seed", default=None)
    if hasattr(config, "workerinput"):  # Of pytest-xdist, whose controller has drawn the seed.
        given = config.workerinput["fault_seed"]
    if given is None:
        given = secrets.randbelow(10**6) if is_long(config) else 0
    config.stash[_SEED] = given


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["fault_seed"] = seed(node.config)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = session.config.stash.get(runs.TALLY, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    tally = node.config.stash.setdefault(runs.TALLY, [])
    tally += getattr(node, "workeroutput", {}).get("tally", [])


def is_long(config) -> bool:
    return config.getoption("--long")


def seed(config) -> int:
    return config.stash[_SEED]


def pytest_generate_tests(metafunc):
    """Runs a test with the parameter `kill` once for each of the session's kills."""
    if "kill" in metafunc.fixturenames:
        kills = metafunc.module.kills(seed(metafunc.config), is_long(metafunc.config))
        metafunc.parametrize("kill", kills, ids=str)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        also = " --long" if is_long(item.config) else ""
        command = f"python -m pytest '{item.nodeid}' --fault_seed={seed(item.config)}{also}"
        report.sections.append(("to repeat", command))


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("faults")
    terminalreporter.write_line(f"--fault_seed={seed(config)}")
    for line in config.stash.get(runs.TALLY, ()):
        terminalreporter.write_line(line)


@pytest.fixture
def rng(request):
    """This test's random number generator."""
    return random.Random(f"{seed(request.config)} {request.node.name}")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A run without faults on one device. Every synchronous layout ends with the same bits."""
    return runs.finished("1 process", tmp_path_factory.mktemp("undisturbed"))
