"""How is a source of a recipe's `get_data` read that gives its examples one by one?

Block after block, so that what does not fit in memory is prepared to memory-mapped columns.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainer.config import user_code
from trainer.config.recipes import Recipe
from trainer.config.schema import ExperimentConfig
from trainer.data import examples as examples_lib
from trainer.data.dataset import Columns
from trainer.data.prepared import folder
from trainer.data.prepared.spool import Spool
from trainer.data.recipe_arrays import as_array, kind_of, refused, stacked
from trainer.data.selection import FEATURES, TARGET, WEIGHTS, part_of


def spooled(
    recipe: Recipe, config: ExperimentConfig, name: str, what: str, source: Any
) -> tuple[tuple[Columns, ...], str]:
    """The columns of a source that is read example by example, and their sha256 where it is known."""
    if not examples_lib.are_examples(source):
        raise refused(recipe, what, kind_of(source))

    @functools.cache  # It reads examples, and may differ the next time, as where they are shuffled.
    def identity() -> str:
        with user_code.reported(recipe.path):
            return _sha256(f"{recipe.code_of('get_data')} {examples_lib.identity(source)}")

    data = config.data
    chosen = [
        str(recipe.path.resolve()),
        name,
        data.features,
        data.target,
        data.features_as,
        data.pad_to,
        data.example_weights,
    ]
    digest = _sha256(json.dumps(chosen))[:16]
    place = functools.partial(folder.named, data, f"recipe-{digest}")
    spool = Spool(f"the {name} examples of {recipe.path}", place, identity, data.download_timeout_s)
    found = spool.read(lambda: _parts(recipe, config, what, source))
    if not found.arrays:
        raise refused(recipe, what, kind_of(source))
    names = (FEATURES, TARGET, *([WEIGHTS] if WEIGHTS in found.arrays else []))
    return tuple(part_of(found.arrays, part) for part in names), found.sha256


def _parts(
    recipe: Recipe, config: ExperimentConfig, what: str, source: Any
) -> Iterator[dict[str, np.ndarray]]:
    """The columns of some examples after the other, by "features" or "features/NAME" and "target"."""
    blocks = examples_lib.blocks(source)
    selection = None
    while True:
        with user_code.reported(recipe.path):
            examples = next(blocks, None)
        if examples is None:
            return
        if isinstance(examples[0], Mapping):
            where = f"`get_data` of {recipe.path}"
            selection = selection or examples_lib.select(where, examples, config.data)
            made = examples_lib.by_name(selection, examples)
        elif all(isinstance(one, tuple | list) and len(one) == 2 for one in examples):
            pairs = zip((FEATURES, TARGET), zip(*examples, strict=True), strict=True)
            made = {}
            for part, values in pairs:
                made |= _flattened(part, stacked(recipe, what, values))
        else:
            raise refused(recipe, what, kind_of(examples[0]))
        # Not wider than they stay, as they may be stored.
        yield {name: as_array(recipe, name, array) for name, array in made.items()}


def _flattened(part: str, columns: Columns) -> dict[str, np.ndarray]:
    if isinstance(columns, Mapping):
        return {f"{part}/{name}": array for name, array in columns.items()}
    return {part: columns}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
