"""Which flags do the verbs have that train many runs? As `options.py`, which lists all verbs."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from trainer.cli.option_groups import (
    ClusterOptions,
    OverrideOptions,
    PeerOptions,
    ScreenOptions,
    StartupOptions,
    SupervisorOptions,
    TrainerArgsOptions,
    TrialOptions,
    WorkdirOptions,
)
from trainer.cli.tuners import RULES, TUNERS
from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class ManyRunsOptions(
    SupervisorOptions,
    StartupOptions,
    PeerOptions,
    ClusterOptions,
    ScreenOptions,
    TrialOptions,
    WorkdirOptions,
    OverrideOptions,
    TrainerArgsOptions,
):
    """What all of these verbs have: how their runs are started, and where."""

    verb: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class TuneOptions(ManyRunsOptions):
    """Search a recipe's space for the best values, one trial each. Flags of train follow `--`."""

    verb: ClassVar[str] = "tune"
    config: str = option(
        "digits_sweep",
        "the recipe to vary: its name, its path, or the config.json of an earlier run",
    )
    space: str = option(
        "",
        "the space, if it is not in that recipe: another recipe, or a JSON or YAML file. Set one with "
        "--space.FIELD=LOW..HIGH, LOW..HIGH:STEP, LOW..HIGH:log or A|B|C; a condition may follow, in "
        "quotes: '0..0.9 when optimizer.name=sgd'",
        metavar="FILE",
    )
    tuner: str = option("random", "how values are chosen", choices=TUNERS)
    objective: str = option(
        "",
        "the value in a trial's summary to optimize, e.g. test_loss; default: test_accuracy, or "
        "test_loss for a regression; validation_* with --config.data.validation_fraction",
        metavar="NAME",
    )
    max_trials: int = option(
        0,
        "maximum number of trials; 0: 20 for random and bayesian, all there are for the others",
        least=0,
    )
    seed: int = option(
        0, "seed of the values to try; a trial's own seed is --config.train.seed", least=0
    )
    max_epochs: int = option(
        0, "hyperband: epochs of the longest trials; 0: --config.train.epochs", least=0
    )
    factor: int = option(
        3, "hyperband: one trial in N continues, and trains N times longer", least=2
    )
    early_stop: str = option(
        "never",
        "median: stop a trial whose best value is worse than the median of the earlier trials' running "
        "means at that point",
        choices=RULES,
    )
    folds: int = option(
        0,
        "measure each setting on N folds of the training examples, as cross_validate does; the objective "
        "is then cv_accuracy, or cv_loss for a regression; 0: train each setting once",
        least=0,
    )
    stratified: bool = option(False, "with --folds: give each fold the same share of every class")
    dimensions: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class CrossValidateOptions(ManyRunsOptions):
    """Train once for each fold of the examples, and test on that fold. Flags of train follow `--`."""

    verb: ClassVar[str] = "cross_validate"
    config: str = option(
        "digits_dense", "a recipe, the path of a recipe, or the config.json of an earlier run"
    )
    folds: int = option(5, "number of folds of the training examples", least=2)
    stratified: bool = option(False, "give each fold the same share of every class")


@dataclasses.dataclass(frozen=True)
class CompareOptions(ManyRunsOptions):
    """Train variants of a config, and draw them side by side as one page. Flags of train follow `--`."""

    verb: ClassVar[str] = "compare"
    config: str = option(
        "digits_dense", "a recipe, the path of a recipe, or the config.json of an earlier run"
    )
    vary: tuple[str, ...] = option(
        (),
        "a field and its values, as in sync.mode=gradients,parameters:20; given several times, each "
        "value is trained with each of the others. Numbers after a colon are the value's main ones "
        "(docs/compare.md). Where a value has a comma, separate them by |",
        metavar="FIELD=VALUE[:N],...",
    )
    link: str = option(
        "",
        "train behind a slow link, which all tasks of a variant share: a rate and perhaps a delay, as in "
        "100mbit or 100mbit,5ms; needs Linux's network namespaces",
        metavar="RATE[,DELAY]",
    )
