"""Do recipes end in the same bits on a mesh as in one process, and send what their cut layers imply?"""

import pytest

from tests.cluster import cluster, own_models
from tests.paths import ROOT

_STEPS = 2
_PATIENCE_S = 300.0  # To trace a transformer takes longer than to train it.
_GALLERY = ROOT / "tests" / "recipes" / "gallery"
_NAMED = "embedding=rows,embedding_1=rows,multi_head_attention=heads"
_VECTORS = (
    64 * 16 * 64 * 4
)  # The bytes of a batch in a vision transformer, 16 vectors of 64 numbers.
_TEXTS = 32 * 10 * 16 * 4  # In `text_transformer.py`.

# Flags, and the bytes that a task sends in a step.
_RECIPES = {
    # Two layers, in each of which attention and a dense pair exchange once in either direction.
    "digits_vit": (["--config=digits_vit", "--config.model.blocks=4"], 8 * _VECTORS),
    "transformer": (
        [
            f"--config={ROOT / 'benchmarks' / 'recipes' / 'transformer.py'}",
            "--config.data.name=digits",
            "--config.model.blocks=4",
        ],
        8 * _VECTORS,
    ),
    # 22 words.
    "text_gru": (["--config=text_gru", "--config.model.blocks=2"], 64 * 12 * 16 * 4),
    # The places are looked up once for all examples.
    "text_transformer": (
        [
            f"--config={_GALLERY / 'text_transformer.py'}",
            "--config.model.blocks=2",
            f"--config.model.sharding={_NAMED}",
        ],
        5 * _TEXTS + 10 * 16 * 4,
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "digits_vit",
        "text_gru",
        "text_transformer",
        pytest.param("transformer", marks=pytest.mark.long),
    ],
)
def test_a_recipe_has_the_bits_of_one_process(name, tmp_path):
    flags, sent = _RECIPES[name]
    flags = [*flags, f"--config.train.steps={_STEPS}", "--config.train.reduction_blocks=1"]
    single = cluster.finished(
        cluster.training(tmp_path / "one", *flags), tmp_path / "one", _PATIENCE_S
    )
    started = cluster.launching(tmp_path / "two", "--mesh=model:2", *flags, workers=2)
    two = cluster.finished(started, tmp_path / "two", _PATIENCE_S)
    own_models.assert_same_bits(two, single, _STEPS)
    assert two.summary["update_bytes"] == _STEPS * sent
