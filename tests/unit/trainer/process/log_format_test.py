"""Which log lines are shown?"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

LOG = """
import sys
from absl import logging
from trainer.process import log_format

log_format.set_up()
exec(compile(sys.argv[2], sys.argv[1], "exec"))
"""


def _shown(path: Path, statement: str = "logging.info('seen')") -> str:
    """What is printed when the file at `path` logs something."""
    run = subprocess.run(
        [sys.executable, "-c", LOG, str(path), statement],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stderr


@pytest.mark.parametrize("folder", ["trainer", "trainer/bucket", "trainer/a/b", "strategies/a"])
def test_info_lines_of_a_package_and_of_its_sub_packages_are_shown(folder):
    assert "seen" in _shown(ROOT / folder / "some_module.py")


def test_info_lines_of_other_packages_are_not_shown():
    assert "seen" not in _shown(ROOT / "configs" / "some_recipe.py")


def test_of_what_tensorflows_coordinator_raises_too_only_one_line_is_shown():
    coordinator = Path("/packages/cluster_coordinator.py")
    shown = _shown(coordinator, "logging.error('not %s', 'seen\\nmore'); logging.error('this one')")
    assert "seen" not in shown and "this one" in shown
