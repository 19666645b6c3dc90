"""Does every strategy have a runtime?"""

import subprocess
import sys

from strategies import choose, create
from tests.paths import ROOT


def test_every_strategy_has_a_runtime_of_its_name():
    names = {key: load().name for key, load in create._RUNTIMES.items()}
    assert names == {(strategy, transport): strategy for strategy, transport in names}
    assert {strategy for strategy, _ in names} == {*choose.STRATEGIES} - {"auto"}


def test_every_transport_between_workers_has_a_runtime():
    transports = {
        transport for strategy, transport in create._RUNTIMES if strategy == "multi_worker"
    }
    assert transports == {*choose.TRANSPORTS} - {"auto"}


def test_tensorflow_is_imported_only_with_a_runtime():
    code = (
        "import sys; from strategies import create; print('tensorflow' in sys.modules)\n"
        "create._RUNTIMES['mirrored', '']()\n"
        "print('tensorflow' in sys.modules, 'strategies.tpu.runtime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["False", "True False"]
