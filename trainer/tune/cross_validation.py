"""Which sweep measures a config on the folds of its training examples?

A cross-validation is a sweep whose only dimension is `data.fold`. A sweep of other dimensions may measure
each of its settings so, with the objective `cv_accuracy` or another that begins with `cv_`.
"""

import dataclasses

from strategies.errors import InputError
from trainer.cli.options import TuneOptions
from trainer.config.fields import ConfigError, short_json
from trainer.config.load import resolve
from trainer.config.schema import ExperimentConfig
from trainer.tune.search.record import CROSS_VALIDATED, Objective
from trainer.tune.space.dimension import choice
from trainer.tune.space.space import Space

FIELDS = ("data.folds", "data.fold", "data.stratified")


def base(options: TuneOptions) -> ExperimentConfig:
    """The config of the first fold. Raises ConfigError."""
    _check_unset(options)
    own = {"data.folds": str(options.folds), "data.stratified": str(options.stratified).lower()}
    return resolve(options.config, {"data.fold": "0", **options.overrides, **own})


def space(folds: int) -> Space:
    """Every fold."""
    return Space((dataclasses.replace(choice(*range(folds)), name="data.fold"),))


def check(
    options: TuneOptions, objective: Objective, searched: Space, base: ExperimentConfig
) -> None:
    """Raises InputError unless folds and the objective of a sweep fit each other, and its settings."""
    is_cv = objective.name.startswith(CROSS_VALIDATED)
    if is_cv and options.folds < 2:
        raise InputError(
            f"`--folds` must be at least 2 with --objective={objective.name}. Received: "
            f"{options.folds}; try --folds=5."
        )
    if not options.folds:
        if options.stratified:
            raise InputError(
                "`--stratified` must be left out without --folds. Received: true; try --folds=5."
            )
        return
    if options.folds < 2:
        raise InputError(
            f"`--folds` must be at least 2, or 0. Received: {options.folds}; try --folds=5."
        )
    if not is_cv:
        raise InputError(
            "`--objective` must be cv_accuracy, cv_loss or cv_mean_absolute_error with --folds. "
            f"Received: {objective.name}; leave out one of them."
        )
    if options.early_stop != "never":
        raise InputError(
            "`--early_stop` must be never with --folds, as a setting has its figures once all folds "
            f"are trained. Received: {options.early_stop}; leave it out."
        )
    _check_unset(options)
    if base.data.folds or any(one.name in FIELDS for one in searched.dimensions):
        raise InputError(
            f"`data.folds` must be 0, and not searched, with --folds. Received: {base.data.folds}; leave "
            "out one of them."
        )


def _check_unset(options: TuneOptions) -> None:
    for name in FIELDS:
        if name in options.overrides:
            raise ConfigError(
                f"`--config.{name}` must be left out, as each run gets its own fold. Received: "
                f"{short_json(options.overrides[name])}; set --folds=N or --stratified."
            )
