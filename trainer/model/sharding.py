"""Which layers of a model are cut into model blocks, and why not the others?

`cut` cuts pairs of dense layers (`dense_pairs.py`), and embeddings (`embedding_blocks.py`) and attention
(`attention_heads.py`) whatever is around them, if the number of blocks divides their rows or heads,
they have nothing but plain weights that train, and they are in a Sequential or functional model. Within
a layer of a recipe's own, whose code may read weights or call a layer in a loop, they are cut only if
`model.sharding` names them.

Every other layer is replicated: each part computes all of it.
"""

import dataclasses
from typing import Any

import keras

from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ModelConfig
from trainer.model import attention_heads, dense_blocks, dense_pairs, embedding_blocks, graphs
from trainer.model.dense_pairs import COLUMN, ROW
from trainer.model.model_blocks import ModelBlocks

REPLICATED = "replicated"
_ALONE = (embedding_blocks, attention_heads)  # The modules of layers that are cut alone.
_KINDS = (COLUMN, ROW, *(one.KIND for one in _ALONE), REPLICATED)


@dataclasses.dataclass(frozen=True)
class Placed:
    """How a layer with weights is held. `reason`: why it is replicated."""

    layer: keras.layers.Layer
    kind: str
    reason: str = ""


def cut(model: keras.Model, config: ModelConfig) -> ModelBlocks | None:
    """Cuts the layers of a built model as the config says; None where `model.blocks` is 0.

    Raises ConfigError where `model.sharding` asks for what the rule does not allow, or nothing is cut.
    """
    if not config.blocks:
        return None
    wanted = _wanted(config.sharding, model)
    blocks = ModelBlocks(config.blocks)
    pairs, blocks.reasons = dense_pairs.pairs(model, config.blocks, wanted)
    for pair in pairs:
        dense_blocks.cut(blocks, pair)
        blocks.kinds |= {id(pair.column): COLUMN, id(pair.row): ROW}
    _cut_alone(model, blocks, wanted)
    _check(model, blocks, wanted)
    return blocks


def placed(model: keras.Model, blocks: ModelBlocks) -> list[Placed]:
    """Every layer with weights of its own, in the model's order."""
    found: list[Placed] = []
    within: set[int] = set()  # What is listed as a part of its layer.
    for layer in model._flatten_layers(include_self=False):
        is_whole = isinstance(layer, keras.layers.MultiHeadAttention)
        if is_whole:
            within |= {id(one) for one in layer._flatten_layers(include_self=False)}
        has_own = layer._trainable_variables or layer._non_trainable_variables
        if not is_whole and (id(layer) in within or layer._layers or not has_own):
            continue
        if kind := blocks.kinds.get(id(layer)):
            found.append(Placed(layer, kind))
        else:
            reason = blocks.reasons.get(id(layer), f"a {type(layer).__name__} is not cut")
            found.append(Placed(layer, REPLICATED, reason))
    return found


def parse(text: str) -> dict[str, str]:
    """{"dense_1": "column", ...} of "dense_1=column,...". Raises ConfigError."""
    found = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        name, _, kind = one.partition("=")
        if not name.strip() or kind.strip() not in _KINDS:
            raise ConfigError(
                "`model.sharding` must name layers and how they are held, as in "
                "dense_1=column,dense_2=row,words=rows,head=replicated. Received: "
                f"{short_json(one)}."
            )
        found[name.strip()] = kind.strip()
    return found


def _wanted(text: str, model: keras.Model) -> dict[str, str]:
    wanted, names = parse(text), [layer.name for layer in _layers(model)]
    if unknown := [name for name in wanted if name not in names]:
        raise ConfigError(
            "`model.sharding` must name layers of the model that can be cut. Received: "
            f"{short_json(unknown[0])}; they are {', '.join(names) or 'none'}."
        )
    return wanted


def _layers(model: keras.Model, types: tuple[type, ...] = ()) -> list[keras.layers.Layer]:
    """Those of these types, else those that may be cut, in the model's order."""
    types = types or (keras.layers.Dense, *(one.TYPE for one in _ALONE))
    return [one for one in model._flatten_layers(include_self=False) if isinstance(one, types)]


def _cut_alone(model: keras.Model, blocks: ModelBlocks, wanted: dict[str, str]) -> None:
    calls = graphs.calls(model)
    for module in _ALONE:
        for layer in _layers(model, (module.TYPE,)):
            asked = wanted.get(layer.name, "")
            reason = module.unfit(layer, blocks.number, calls.get(id(layer), ()))
            reason = reason or _unasked(layer, module, asked, id(layer) in calls)
            if reason:
                blocks.reasons[id(layer)] = reason
            else:
                module.cut(blocks, layer)
                blocks.kinds[id(layer)] = module.KIND


def _unasked(layer: keras.layers.Layer, module: Any, asked: str, is_in_graph: bool) -> str:
    """Why a layer that could be cut is not to be."""
    if asked == REPLICATED:
        return f"`model.sharding` has {layer.name}={asked}"
    if asked and asked != module.KIND:
        return f"a layer of type {module.TYPE.__name__} can be cut by {module.KIND} only"
    if not asked and not is_in_graph:
        return "it is within a layer of the recipe's own; name it in `model.sharding`"
    return ""


def _check(model: keras.Model, blocks: ModelBlocks, wanted: dict[str, str]) -> None:
    layers = _layers(model)
    for layer in layers:
        asked, found = wanted.get(layer.name, ""), blocks.kinds.get(id(layer), REPLICATED)
        if asked and asked != found:
            why = blocks.reasons.get(id(layer)) or f"it is {found}, as the rule pairs it"
            if layer.name in why and isinstance(layer, keras.layers.Dense):
                where = "after" if asked == COLUMN else "before"
                why = f"the layer {where} it cannot be the other one of a pair"
            raise ConfigError(
                f"`model.sharding` must be one that layer {layer.name!r} allows. Received: "
                f"{short_json(f'{layer.name}={asked}')}, but {why}; leave it out, or change the model."
            )
    if not blocks.kinds:
        raise ConfigError(
            f"`model.blocks` must be 0 for a model without layers that can be cut. Received: "
            f"{blocks.number}; leave it out"
            + "".join(f". {layer.name}: {blocks.reasons[id(layer)]}" for layer in layers[:3])
            + "."
        )
