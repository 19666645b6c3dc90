"""Which sweep did the user ask for?

`SweepSpec` holds everything that determines its trials. It is the same on every machine of the sweep, and
in every process that resumes it.
"""

import dataclasses
import functools
import pathlib

from strategies import choose, tensorflow_import
from strategies.errors import InputError
from strategies.packages import version
from trainer.cli.options import TuneOptions
from trainer.cli.parser import parse_trainer_args
from trainer.cli.tuners import TUNERS
from trainer.config.data_schema import CLASSIFICATION_DATASETS
from trainer.config.load import override, resolve
from trainer.config.schema import ExperimentConfig, flatten
from trainer.tune import cross_validation
from trainer.tune.search.folded_trials import FoldedTrials
from trainer.tune.search.ledger import Ledger
from trainer.tune.search.oracle import Suggestion
from trainer.tune.search.record import Objective
from trainer.tune.search.search import Search
from trainer.tune.search.trial_source import TrialSource
from trainer.tune.space.check import check
from trainer.tune.space.space import Space, load

# Fields that may differ when a sweep is resumed, and between machines: they do not change the results.
CHANGEABLE_FIELDS = ("recipe", "data.dir", "data.placement", "data.download_timeout_s")


@dataclasses.dataclass(frozen=True)
class SweepSpec:
    """A sweep: trials of `base` with values from `space`, to optimize `objective`."""

    options: TuneOptions
    base: ExperimentConfig
    space: Space
    objective: Objective

    @classmethod
    def from_options(cls, options: TuneOptions) -> "SweepSpec":
        """The sweep that the flags ask for.

        Raises:
          InputError: the flags do not define a valid sweep.
        """
        check_no_tpu(options)
        base = resolve(options.config, options.overrides)
        space = load(options.config, options.space, options.dimensions)
        check(space, base)
        _check_length(options, base)
        _check_overrides(options, space)
        objective = Objective.named(options.objective or default_objective(options, base))
        cross_validation.check(options, objective, space, base)
        return cls(options, base, space, objective)

    @classmethod
    def of_folds(cls, options: TuneOptions) -> "SweepSpec":
        """The sweep that trains once for each of `options.folds`. Raises InputError."""
        check_no_tpu(options)
        base = cross_validation.base(options)
        space = cross_validation.space(options.folds)
        check(space, base)
        objective = Objective.named(default_objective(options, base).replace("cv", "test"))
        own = dataclasses.replace(options, folds=0, stratified=False)
        return cls(own, base, space, objective)

    def source(self, search: Search) -> TrialSource:
        """Where the runs of the search's trials come from: each is one run, or one for each fold."""
        options = self.options
        return FoldedTrials(search, options.folds, options.stratified) if options.folds else search

    @functools.cached_property
    def settings(self) -> dict:
        """Everything that determines which trials there are, and their results."""
        config = {f"config.{name}": value for name, value in flatten(self.base).items()}
        for name in CHANGEABLE_FIELDS:
            del config[f"config.{name}"]
        search_flags = ("tuner", "seed", "max_epochs", "factor", "early_stop")
        trial_flags = ("workers_per_trial", "ps_per_trial", "trainer_args")
        return {
            **{name: getattr(self.options, name) for name in (*search_flags, *trial_flags)},
            **({"folds": self.options.folds} if self.options.folds else {}),
            **({"stratified": True} if self.options.stratified else {}),
            "objective": self.objective.name,
            **config,
            "space": self.space.as_dict(),
        }

    @property
    def num_trials(self) -> int | None:
        """The largest possible number of trials, or None if it is not known."""
        limit = self.options.max_trials or TUNERS[self.options.tuner].max_trials
        return min((number for number in (limit, self.space.size) if number), default=None)

    def open_search(self, folder: pathlib.Path) -> Search:
        """The search in a folder, restored from its ledger if there is one.

        Raises:
          InputError: the ledger belongs to another sweep, or keras-tuner is not installed.
          WorkdirError: the ledger cannot be read or written, or is damaged.
        """
        _import_keras_tuner()
        from trainer.tune.search.oracle import create

        options = self.options
        oracle = create(
            options.tuner,
            self.space,
            self.objective,
            max_trials=options.max_trials,
            seed=options.seed,
            max_epochs=options.max_epochs or self.base.train.epochs,
            factor=options.factor,
        )
        ledger = Ledger(folder / "ledger.jsonl", self.settings)
        return Search(self.objective, oracle, ledger, self._make_trial, options.early_stop)

    def _make_trial(self, suggestion: Suggestion) -> tuple[ExperimentConfig, tuple[str, ...]]:
        """The trial's config and flags. Raises ConfigError for an invalid combination of values."""
        options = self.options
        overrides, flags = self.space.split(suggestion.values)
        if suggestion.epochs:
            overrides["train.epochs"] = str(suggestion.epochs)
        default_flags = {
            "--workers": str(options.workers_per_trial),
            "--ps": str(options.ps_per_trial),
        }
        config = override(self.base, overrides)
        return config, tuple(f"{name}={value}" for name, value in (default_flags | flags).items())


def check_no_tpu(options: TuneOptions) -> None:
    """A TPU is one process's at a time, and a sweep's are forked from one that has TensorFlow."""
    asked = parse_trainer_args(options.trainer_args)
    build = version("tensorflow-tpu")
    if choose.asks_for_tpu(asked.strategy, asked.tpu) or build:
        received = f"tensorflow-tpu {build}" if build else "a TPU, after `--`"
        raise InputError(
            f"`tune` trains on CPUs and GPUs, by the package tensorflow. Received: {received}; run it "
            "where that is, or train each config separately on a TPU."
        )


def default_objective(options: TuneOptions, base: ExperimentConfig) -> str:
    is_named = not base.recipe and not base.data.source
    is_classifier = is_named and base.data.name in CLASSIFICATION_DATASETS
    split = "validation" if base.data.validation_fraction else "test"
    split = "cv" if options.folds else split
    return f"{split}_accuracy" if is_classifier else f"{split}_loss"


def _check_length(options: TuneOptions, base: ExperimentConfig) -> None:
    if TUNERS[options.tuner].in_epochs and base.train.steps:
        raise InputError(
            f"`train.steps` must be 0 for --tuner={options.tuner}, which measures in epochs. Received: "
            f"{base.train.steps}; add --config.train.steps=0 and --max_epochs=N."
        )
    if TUNERS[options.tuner].in_epochs and base.optimizer.decays_with_run:
        raise InputError(
            f"`optimizer.decay_steps` must be set for --tuner={options.tuner}, whose trials "
            f"continue for more epochs. Received: 0 with `optimizer.schedule` {base.optimizer.schedule}; "
            "set it to the number of steps of the longest trial."
        )


def _check_overrides(options: TuneOptions, space: Space) -> None:
    always_searched = {dimension.name for dimension in space.dimensions if not dimension.when}
    for name, text in options.overrides.items():
        if name in always_searched:
            raise InputError(
                f"`--config.{name}` must not be set, as the space searches it. Received: {text}; remove "
                f"it, or set --space.{name} to the values to search."
            )


def _import_keras_tuner() -> None:
    with tensorflow_import.quietly():
        import keras  # noqa: F401, before keras-tuner, which needs scikit-learn.
    try:
        import keras_tuner  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"`tune` needs keras-tuner. Received: {error}; run `pip install 'muster[tune]'`."
        ) from None
