"""Do the fields of a config that weigh, resample, divide or augment the training examples make sense?

The rules that need no data. What the data must have for them is checked where they are used.
"""

from typing import NamedTuple

from trainer.config import named_numbers
from trainer.config.fields import ConfigError, short_json
from trainer.config.nearest import nearest
from trainer.config.schema import ExperimentConfig

BALANCED = "balanced"


class Change(NamedTuple):
    """What `data.augment` can do: its amount where none is given, and the bounds of that."""

    default: float
    least: float
    most: float
    is_whole: bool = False


CHANGES = {
    "shift": Change(2, 1, 1024, is_whole=True),  # Pixels.
    "rotate": Change(10, 0.001, 180),  # Degrees.
    "flip": Change(0.5, 0.001, 1),  # Probability.
    "crop": Change(0.8, 0.01, 1),  # Share of each side that is kept at least.
    "cutout": Change(8, 1, 1024, is_whole=True),  # Pixels.
    "mixup": Change(0.2, 0.01, 100),  # Alpha.
}


def class_weights(text: str) -> dict[str, float]:
    """The weights of `data.class_weights` by class; none for "balanced". Raises ConfigError."""
    if text in ("", BALANCED):
        return {}
    found = named_numbers.parse("data.class_weights", text, "3:10,5:2.5, or balanced")
    weights = {name: value for name, value in found.items() if value is not None and value >= 0}
    if wrong := [name for name in found if name not in weights]:
        raise ConfigError(
            "`data.class_weights` must give each class a number from 0 on. Received: "
            f"{short_json(text)}, without one for {wrong[0]}; write e.g. {wrong[0]}:2, or balanced alone."
        )
    return weights


def augmentations(text: str) -> dict[str, float]:
    """What `data.augment` names, with its amount. Raises ConfigError."""
    if not text:
        return {}
    found = {}
    for name, amount in named_numbers.parse("data.augment", text, "shift:2,flip").items():
        change = CHANGES.get(name)
        if change is None:
            close = nearest(name, CHANGES)
            raise ConfigError(
                f"`data.augment` must name some of {', '.join(CHANGES)}. Received: {short_json(name)}; "
                f"{f'did you mean {close}?' if close else 'correct it.'}"
            )
        found[name] = change.default if amount is None else amount
        is_whole = found[name] == int(found[name]) or not change.is_whole
        if not (change.least <= found[name] <= change.most and is_whole):
            kind = "a whole number " if change.is_whole else ""
            raise ConfigError(
                f"`data.augment` must have {kind}from {change.least:g} to {change.most:g} for {name}. "
                f"Received: {found[name]:g}; try {name}:{change.default:g}."
            )
    return found


def check_values(config: ExperimentConfig) -> None:
    """The rule that weights and augmentations can be read. Raises ConfigError."""
    class_weights(config.data.class_weights)
    augmentations(config.data.augment)
    if config.data.example_weights and not (config.data.source or config.recipe):
        raise ConfigError(
            "`data.example_weights` must be empty without `data.source`, whose column it names. "
            f"Received: {short_json(config.data.example_weights)}; leave it out."
        )


def check_folds(config: ExperimentConfig) -> None:
    """The rule that a fold is one of several. Raises ConfigError."""
    folds, fold, stratified = config.data.folds, config.data.fold, config.data.stratified
    if folds == 1:
        raise ConfigError(
            "`data.folds` must be at least 2, as a run trains on all folds but one. Received: 1; try 5."
        )
    if not folds and (fold or stratified):
        name, value = ("fold", fold) if fold else ("stratified", "true")
        raise ConfigError(
            f"`data.folds` must be at least 2 with `data.{name}`={value}. Received: 0; try 5."
        )
    if folds and fold >= folds:
        raise ConfigError(
            f"`data.fold` must be below `data.folds`, which is {folds}. Received: {fold}; try "
            f"{folds - 1}."
        )


def check_classes(config: ExperimentConfig, name: str) -> None:
    """Raises ConfigError where a regression on the data `name` has an option of classes."""
    of_classes: dict[str, float | str | bool] = {
        "train.focal_gamma": config.train.focal_gamma,
        "data.class_weights": config.data.class_weights,
        "data.resample": config.data.resample.removeprefix("none"),
        "data.stratified": config.data.stratified,
    }
    for field, value in of_classes.items():
        if value:
            raise ConfigError(
                f"`{field}` must be left out for a regression. Received: {short_json(value)} for {name}; "
                "leave it out."
            )
