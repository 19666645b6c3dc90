"""Are those layers cut that the rule says, and does each other one have its reason?"""

import keras
import pytest

from trainer.config.fields import ConfigError
from trainer.config.schema import ModelConfig
from trainer.model import sharding

layers = keras.layers


def _sequential(*units: int, **settings) -> keras.Model:
    """Layers dense_1, dense_2, ... of these units."""
    stack = [
        layers.Dense(number, name=f"dense_{index + 1}", **settings)
        for index, number in enumerate(units)
    ]
    return keras.Sequential([keras.Input((8,)), *stack])


def _kinds(model: keras.Model, wanted: str = "", blocks: int = 4) -> dict[str, str]:
    config = ModelConfig(blocks=blocks, sharding=wanted)
    found = sharding.cut(model, config)
    assert found is not None
    return {one.layer.name: one.kind for one in sharding.placed(model, found)}


def _reason(model: keras.Model, name: str) -> str:
    config = ModelConfig(blocks=4)
    found = sharding.cut(model, config)
    assert found is not None
    return {one.layer.name: one.reason for one in sharding.placed(model, found)}[name]


def test_neighbours_are_paired_in_their_order():
    kinds = _kinds(_sequential(8, 12, 16, 3, 5))
    assert kinds == {
        "dense_1": "column",
        "dense_2": "row",
        "dense_3": "column",
        "dense_4": "row",
        "dense_5": "replicated",
    }


def test_no_layer_is_cut_without_blocks():
    assert sharding.cut(_sequential(8, 8), ModelConfig()) is None


def test_units_that_the_blocks_do_not_divide_are_not_cut():
    kinds = _kinds(_sequential(6, 8, 3))
    assert kinds == {"dense_1": "replicated", "dense_2": "column", "dense_3": "row"}
    assert _reason(_sequential(6, 8, 3), "dense_1") == "4 blocks do not divide its 6 units"


def test_activations_and_dropout_may_be_between():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, name="first"),
            layers.LeakyReLU(),
            layers.Activation("gelu"),
            layers.Dropout(0.5),
            layers.Dense(3, name="second"),
        ]
    )
    assert _kinds(model) == {"first": "column", "second": "row"}


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (
            layers.LayerNormalization(name="norm"),
            "its output goes to norm, which is no dense layer",
        ),
        (layers.Activation("softmax", name="soft"), "its output goes to soft"),
        (layers.Dropout(0.5, noise_shape=(None, 1), name="drop"), "its output goes to drop"),
    ],
)
def test_what_reads_all_units_may_not(between, reason):
    model = _sequential(8, 3, 8, 3)
    stack = [keras.Input((8,)), layers.Dense(8, name="first"), between]
    model = keras.Sequential(
        [*stack, layers.Dense(8, name="second"), layers.Dense(3, name="third")]
    )
    assert _reason(model, "first").startswith(reason)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kernel_regularizer": "l2"}, "it has a regularizer"),
        ({"kernel_constraint": "max_norm"}, "it has a constraint"),
        ({"trainable": False}, "it does not train"),
        ({"activation": "softmax"}, "its activation, softmax, reads all units at once"),
    ],
)
def test_a_layer_with_more_than_plain_weights_is_replicated(settings, reason):
    inputs = keras.Input((8,))
    hidden = layers.Dense(8, name="first", **settings)(inputs)
    hidden = layers.Dense(8, name="second")(hidden)
    model = keras.Model(inputs, layers.Dense(3, name="third")(hidden))
    assert _reason(model, "first").startswith(reason)


def test_an_output_that_goes_to_two_layers_is_not_cut():
    inputs = keras.Input((8,))
    hidden = layers.Dense(8, name="first")(inputs)
    outputs = layers.Add()([layers.Dense(8, name="second")(hidden), hidden])
    outputs = layers.Dense(3, name="fourth")(layers.Dense(8, name="third")(outputs))
    model = keras.Model(inputs, outputs)
    assert _kinds(model)["third"] == "column"
    assert _reason(model, "first") == "the output of first goes to several layers"


def test_layers_within_a_model_within_are_cut_too():
    inner = _sequential(8, 8)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(3, name="head")(inner(inputs)))
    assert _kinds(model) == {"dense_1": "column", "dense_2": "row", "head": "replicated"}


def test_names_decide_before_the_rule():
    kinds = _kinds(_sequential(8, 8, 3), "dense_2=column, dense_3=row")
    assert kinds == {"dense_1": "replicated", "dense_2": "column", "dense_3": "row"}
    assert _kinds(_sequential(8, 8, 3), "dense_1=replicated")["dense_2"] == "column"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "dense_9=row",
            'must name layers of the model that can be cut. Received: "dense_9"; they are dense_1',
        ),
        ("dense_1", "must name layers and how they are held"),
        ("dense_1=diagonal", "must name layers and how they are held"),
        ("dense_1=row", "but the layer before it cannot be the other one of a pair"),
        ("dense_3=column", "but its output is the model's"),
    ],
)
def test_names_that_make_no_sense_are_refused(wanted, message):
    with pytest.raises(ConfigError, match="`model.sharding` must") as caught:
        sharding.cut(_sequential(8, 8, 3), ModelConfig(blocks=4, sharding=wanted))
    assert message in str(caught.value)


def test_a_model_of_which_no_layer_can_be_cut_is_refused():
    with pytest.raises(
        ConfigError, match="`model.blocks` must be 0 for a model without layers that can be cut"
    ):
        sharding.cut(_sequential(3), ModelConfig(blocks=4))


def _of_words(**settings) -> keras.Model:
    words = keras.Input((3,), dtype="int32")
    embedded = layers.Embedding(settings.pop("rows", 8), 4, name="words", **settings)(words)
    hidden = layers.Dense(8, name="first")(layers.Flatten()(embedded))
    return keras.Model(words, layers.Dense(3, name="second")(hidden))


def test_an_embedding_is_cut_by_rows():
    assert _kinds(_of_words()) == {"words": "rows", "first": "column", "second": "row"}
    assert _kinds(_of_words(), "words=replicated")["words"] == "replicated"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rows": 6}, "4 blocks do not divide its 6 rows"),
        ({"embeddings_regularizer": "l2"}, "it has a regularizer, which reads whole weights"),
        ({"activity_regularizer": "l2"}, "it has a regularizer, which reads whole weights"),
        ({"embeddings_constraint": "max_norm"}, "it has a constraint, which reads whole weights"),
        ({"lora_rank": 2}, "it has LoRA or is quantized"),
        ({"trainable": False}, "it does not train"),
    ],
)
def test_an_embedding_with_more_than_plain_rows_is_replicated(settings, reason):
    assert _reason(_of_words(**settings), "words") == reason


class _Own(keras.layers.Layer):
    """A layer of a recipe's own, with an embedding in it."""

    def __init__(self):
        super().__init__()
        self.words = layers.Embedding(8, 4, name="words")

    def call(self, x):
        return self.words(x)


def _with_own_layer() -> keras.Model:
    words = keras.Input((3,), dtype="int32")
    hidden = layers.Dense(8, name="first")(layers.Flatten()(_Own()(words)))
    return keras.Model(words, layers.Dense(3, name="second")(hidden))


def test_within_a_layer_of_a_recipe_an_embedding_is_cut_where_it_is_named():
    assert _reason(_with_own_layer(), "words").startswith(
        "it is within a layer of the recipe's own"
    )
    assert _kinds(_with_own_layer(), "words=rows")["words"] == "rows"
    with pytest.raises(ConfigError, match="but a layer of type Embedding can be cut by rows only"):
        sharding.cut(_of_words(), ModelConfig(blocks=4, sharding="words=column"))


class _OwnAttention(keras.layers.MultiHeadAttention):
    pass


def _of_attention(
    kind=keras.layers.MultiHeadAttention, heads=4, scores=False, **settings
) -> keras.Model:
    numbers = keras.Input((5, 8))
    attended = kind(heads, 2, name="attention", **settings)(
        numbers, numbers, return_attention_scores=scores
    )
    hidden = layers.Dense(8, name="first")(attended[0] if scores else attended)
    return keras.Model(numbers, layers.Dense(3, name="second")(hidden))


def test_attention_is_cut_by_heads():
    kinds = {"attention": "heads", "first": "column", "second": "row"}
    assert _kinds(_of_attention()) == kinds
    assert _kinds(_of_attention(heads=6), "attention=heads", blocks=2) == kinds


def test_replicated_attention_is_one_layer():
    assert _kinds(_of_attention(), "attention=replicated")["attention"] == "replicated"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"heads": 6}, "4 blocks do not divide its 6 heads"),
        ({"kind": _OwnAttention}, "a _OwnAttention may compute something of its own"),
        ({"kernel_regularizer": "l2"}, "it has a regularizer, which reads whole weights"),
        ({"activity_regularizer": "l2"}, "it has a regularizer, which reads whole weights"),
        ({"bias_constraint": "max_norm"}, "it has a constraint, which reads whole weights"),
        ({"trainable": False}, "it does not train"),
        ({"flash_attention": True}, "it uses flash attention"),
        ({"scores": True}, "it returns the scores of all heads"),
    ],
)
def test_attention_that_reads_all_heads_at_once_is_replicated(settings, reason):
    assert _reason(_of_attention(**settings), "attention") == reason
