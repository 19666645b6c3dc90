"""Do Keras's layers give the same bits for any division of a batch, padding included?

`tests/layer_table.py` compares the layers of `tests/recipes/all_layers.py`, in a process of its own.
"""

import json
import subprocess
import sys

import pytest

from tests import layer_table
from tests.paths import ROOT

_FEW = ["batch_normalization", "dropout"]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "kinds", [_FEW, pytest.param(layer_table.LAYERS, marks=pytest.mark.long)], ids=["few", "all"]
)
def test_a_layer_has_the_same_bits_for_any_division_of_a_batch_and_in_a_loop(kinds):
    done = subprocess.run(
        [sys.executable, "-m", "tests.layer_table", *kinds],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=2900,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.pop("kind") for one in found] == kinds
    expected = {"2 parts": True, "4 parts": True, "a loop": True, "finite": True}
    assert found == [expected] * len(kinds)


def test_the_table_has_at_least_25_kinds():
    assert len({*layer_table.LAYERS}) == len(layer_table.LAYERS) >= 25
