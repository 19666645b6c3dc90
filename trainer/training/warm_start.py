"""With which weights does a run start that begins where another ended?

With those of `SavedWeights`, once their names and shapes have been compared with the model's. What is
left out by name keeps the values that follow from the seed, and so do the model's random seeds.
"""

import fnmatch
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from absl import logging

from strategies.state import State
from trainer.model import forward
from trainer.model.step import TrainingProgram
from trainer.storage import saved_weights
from trainer.storage.saved_weights import InitialWeights, SavedWeights

_LISTED = 6  # Names in an error.
_FIX = "name what may differ in `model.initial_weights_skip`, or start from another model"


def initial_state(weights: InitialWeights, skip: Sequence[str], program: TrainingProgram) -> State:
    """`state` with what a run begins with. Raises SavedWeightsError."""
    return state(program, weights.take(), skip)


def state(program: TrainingProgram, saved: SavedWeights, skip: Sequence[str] = ()) -> State:
    """The program's initial state with the weights of `saved`.

    `skip`: patterns of layers, or of weights, which keep their initial values, such as "output", "head*".

    Raises SavedWeightsError where other names or shapes differ, or a pattern matches nothing.
    """
    initial = program.initial_state()
    named, seeds = _variables(program)
    found = _by_name(program.model, named, saved)
    _check_patterns(skip, [*named, *found])
    wanted = {name: one for name, one in named.items() if not _matches(name, skip)}
    unknown = [name for name in found if name not in named and not _matches(name, skip)]
    _check_names(saved, [*wanted], found, [name for name in unknown if name not in seeds])
    taken = {name: _value(saved, name, one, found[name]) for name, one in wanted.items()}
    skipped = [name for name in named if name not in taken]
    seeded = f"; {_listed(skipped)} from the seed" if skipped else ""
    logging.info("initial weights | %s: %d arrays%s", saved.description, len(taken), seeded)
    weights = [taken.get(*pair) for pair in zip(program.weight_names, initial.weights, strict=True)]
    names = program.forward.state_names
    others = [taken.get(*pair) for pair in zip(names, initial.layer_state, strict=True)]
    return State(weights, initial.slots, others)


def layer_of(name: str) -> str:
    """The layer of a weight: "hidden_1" of "hidden_1/kernel"."""
    return name.rpartition("/")[0]


def _variables(program: TrainingProgram) -> tuple[dict[str, keras.Variable], set[str]]:
    """The model's weights and layer state by name, and the names of what a run keeps beside them."""
    state_ = zip(program.forward.state_names, program.forward.variables, strict=True)
    model = {id(variable) for variable in program.model.non_trainable_variables}
    named = dict(zip(program.weight_names, program.model.trainable_variables, strict=True))
    others = {"loss_scale", "loss_scale_steps"}
    for name, variable in state_:
        if forward.is_seed(variable) or id(variable) not in model:
            others.add(name)
        else:
            named[name] = variable
    return named, others


def _by_name(
    model: keras.Model, named: Mapping[str, keras.Variable], saved: SavedWeights
) -> dict[str, np.ndarray]:
    """The arrays of `saved` by the names that the model has for them."""
    if saved.file is None:
        return {name: array for name, array in saved.arrays.items() if not _is_seed(name)}
    names = {id(variable): name for name, variable in named.items()}
    owners = _owners(model)
    if not {*owners} & {*saved.layers}:
        return _by_structure(model, named, saved)
    found = {}
    for layer, arrays in saved.layers.items():
        own = [names[id(one)] for one in owners.get(layer, ()) if id(one) in names]
        for index, array in enumerate(arrays):
            found[own[index] if index < len(own) else f"{layer}/{index}"] = array
    return found


def _is_seed(name: str) -> bool:
    return fnmatch.fnmatch(name, "seed_[0-9]*") and "/" not in name


def _owners(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """The variables of each layer itself, in Keras's order. Nothing for names that two layers have."""
    layers = [
        layer
        for layer in model._flatten_layers(include_self=True)
        if layer._trainable_variables or layer._non_trainable_variables
    ]
    names = [layer.name for layer in layers]
    return {
        layer.name: [*layer._trainable_variables, *layer._non_trainable_variables]
        for layer in layers
        if names.count(layer.name) == 1
    }


def _by_structure(
    model: keras.Model, named: Mapping[str, keras.Variable], saved: SavedWeights
) -> dict[str, np.ndarray]:
    """As Keras assigns them: by the place of each layer in a model of the same layers."""
    try:
        model.load_weights(saved.file)
    except Exception as cause:
        first = (str(cause).strip().splitlines() or [""])[0]
        raise saved_weights.error(
            saved.source,
            f"hold the layers of the model, {_listed([*_owners(model)])}",
            f"a file with {_listed([*saved.layers])}, which Keras cannot assign either ({first})",
            "give the layers the same names",
        ) from None
    return {name: variable.numpy() for name, variable in named.items()}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern is that of a weight, of its layer, or of what contains the layer."""
    parts = name.split("/")
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return any(fnmatch.fnmatchcase(one, pattern) for one in above for pattern in patterns)


def _check_patterns(patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(_matches(name, [pattern]) for name in names):
            layers = dict.fromkeys(layer_of(name) or name for name in names)
            raise saved_weights.SavedWeightsError(
                "`model.initial_weights_skip` must name layers of the model or of the file. Received: "
                f"{pattern!r}; the layers are {', '.join(layers)}."
            )


def _check_names(
    saved: SavedWeights, wanted: Sequence[str], found: Mapping[str, object], unknown: Sequence[str]
) -> None:
    if missing := [name for name in wanted if name not in found]:
        more = f", which has {_listed(unknown)} instead" if unknown else ""
        raise saved_weights.error(
            saved.source,
            "hold every weight of the model",
            f"{saved.description} without {_listed(missing)}{more}",
            _FIX,
        )
    if unknown:
        raise saved_weights.error(
            saved.source,
            "hold only weights that the model has",
            f"{saved.description} with {_listed(unknown)} too",
            _FIX,
        )


def _value(
    saved: SavedWeights, name: str, variable: keras.Variable, array: np.ndarray
) -> np.ndarray:
    """The array in the variable's type. Raises SavedWeightsError where its shape or kind differs."""
    kinds = {array.dtype.kind, np.dtype(variable.dtype).kind}
    if array.shape != tuple(variable.shape) or (len(kinds) > 1 and not kinds <= {"i", "u"}):
        raise saved_weights.error(
            saved.source,
            f"hold `{name}` as the model has it, {variable.dtype} {list(variable.shape)}",
            f"{saved.description} with {array.dtype} {list(array.shape)}",
            _FIX,
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise saved_weights.error(
            saved.source, "hold finite weights", f"NaN or infinity in `{name}`", "take another"
        )
    return array.astype(variable.dtype)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED]) or "none"
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
