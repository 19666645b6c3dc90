"""Which of Keras's layers give the same bits for any division of a batch, and in a loop as step by step?

    python -m tests.layer_table [KIND...]    # one JSON line for each layer, or each kind of input

The layers are those of `tests/recipes/all_layers.py`. It is a process of its own, as one thread has to
compute each operation. Each net takes a batch of 32 in blocks of 4, of which the last examples are
padding: as a whole, as two halves and as four quarters, added in the tree; and two steps in one loop and
one by one.
"""

import json
import sys
from collections.abc import Iterator

from strategies import tensorflow_import

if __name__ == "__main__":
    tensorflow_import.set_environ_defaults()

import numpy as np
import tensorflow as tf

from strategies.compiled_loop import CompiledProgram, updated
from strategies.runtime import Key
from tests.paths import ROOT
from tests.recipes import all_layers
from trainer.config import load
from trainer.data import recipe_data
from trainer.model import user_model

_BATCH, _BLOCK, _PADDING, _FIRST = 32, 4, 5, 7
_RECIPE = ROOT / "tests" / "recipes" / "all_layers.py"
LAYERS = [name for own in all_layers.LAYERS.values() for name in own]


def examine(kind: str) -> dict[str, bool]:
    """Whether the bits of a net's step are equal, by what was compared."""
    config = load.resolve(str(_RECIPE), {"name": kind})
    recipe, dataset = recipe_data.recipe_of(config), recipe_data.load(config)
    assert recipe is not None
    program = user_model.build(recipe, config, dataset, _BLOCK).program
    compiled = CompiledProgram(program)
    state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    weights = np.ones(_BATCH, np.float32)
    weights[-_PADDING:] = 0
    arrays = [array[:_BATCH] for array in dataset.train.arrays]
    batch = tuple(map(tf.constant, (*arrays, weights)))

    def terms(state, part, step, share):
        key = Key(tf.constant(step), tf.constant(share))
        return compiled.gradients(state[0], part, state[2], key)

    found = {}
    whole = terms(state, batch, _FIRST, 0)
    for count in (2, 4):
        size = _BATCH // count
        shares = [tuple(array[i * size : (i + 1) * size] for array in batch) for i in range(count)]
        parts = [terms(state, share, _FIRST, index) for index, share in enumerate(shares)]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [
                ([x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]) for a, b in pairs
            ]
        found[f"{count} parts"] = _equal(whole, parts[0])
    stacked = tuple(tf.stack([array] * 2) for array in batch)
    first = Key(tf.constant(_FIRST), tf.constant(0))
    looped, _ = compiled.fused_steps(state, stacked, tf.constant(2), first)
    update = tf.function(lambda *args: updated(program, *args), autograph=False)
    for step in (_FIRST, _FIRST + 1):
        added, sums = terms(state, batch, step, 0)
        state = update(state, added, sums[-1])
    found["a loop"] = _equal(looped, state)
    found["finite"] = all(np.isfinite(array).all() for array in tf.nest.flatten(state))
    return found


def _equal(one, other) -> bool:
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def main(kinds: list[str]) -> Iterator[str]:
    for kind in kinds or LAYERS:
        yield json.dumps({"kind": kind, **examine(kind)})


if __name__ == "__main__":
    for line in main(sys.argv[1:]):
        print(line, flush=True)
