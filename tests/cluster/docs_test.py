"""Do the commands of README and docs work, in the order in which a page gives them?

They run in an empty folder with the page's own recipes, and train for a few steps only. What needs more
than this machine has is marked so in the page: tests/documents.py has the convention.
"""

import re
import subprocess
import sys

import pytest

from tests import documents
from tests.cluster import cluster
from tests.paths import ROOT

_STEPS = "--config.train.steps=2"
_DEFAULT = ("README.md", "docs/getting-started.md")


def _cases():
    for page in documents.PAGES:
        if any(block.info == "bash" for block in documents.blocks(page)):
            name = str(page.relative_to(ROOT))
            marks = [] if name in _DEFAULT else [pytest.mark.long]
            yield pytest.param(page, marks=marks, id=name)


def _shortened(args: list[str]) -> list[str]:
    """The same command with few steps and few trials."""
    verb = args[0] if args and not args[0].startswith("-") else "train"
    if verb == "launch":
        return [*args, *(() if "--" in args else ("--",)), _STEPS]
    if verb in ("tune", "cross_validate", "compare"):
        few = [re.sub(r"^--max_trials=\d+$", "--max_trials=2", arg) for arg in args]
        return [few[0], _STEPS, *few[1:]]
    if verb == "train" and not any(arg.startswith("--help") for arg in args):
        return [*args, _STEPS]
    return args


@pytest.mark.parametrize("page", [*_cases()])
def test_every_command_of_a_page_ends_well(page, tmp_path):
    for block in documents.blocks(page):
        if block.file_name:
            (tmp_path / block.file_name).write_text(block.text, encoding="utf-8")
        for command in block.commands if block.info == "bash" else ():
            if name := documents.own_file(command):
                subprocess.run(
                    [sys.executable, name], cwd=tmp_path, check=True, timeout=cluster.PATIENCE_S
                )
                continue
            args = _shortened(documents.trainer_args(command))
            with cluster.Process([*cluster.TRAINER, *args], folder=tmp_path) as process:
                assert process.wait() == 0, f"{command}\n{process.said}"


def test_commands_train_briefly_whatever_their_verb():
    assert _shortened(["--workdir=w"]) == ["--workdir=w", _STEPS]
    assert _shortened(["launch", "--", "--workdir=w"]) == ["launch", "--", "--workdir=w", _STEPS]
    assert _shortened(["tune", "--max_trials=9"]) == ["tune", _STEPS, "--max_trials=2"]
    assert _shortened(["--help=config"]) == ["--help=config"]
