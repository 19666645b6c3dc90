"""What is searched by a sweep, and what decides which trials there are?

The same on every machine that takes part, and in every process that goes on with the sweep.
"""

import dataclasses
import functools
import pathlib

from strategies import choose, tensorflow_import
from strategies.errors import InputError
from strategies.packages import version
from trainer.cli.options import TuneOptions
from trainer.cli.parser import parse
from trainer.cli.tuners import TUNERS
from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.tune.search.ledger import Ledger
from trainer.tune.search.oracle import Suggestion
from trainer.tune.search.record import Objective
from trainer.tune.search.search import Search
from trainer.tune.space import check as space_check
from trainer.tune.space import space as space_lib
from trainer.tune.space.space import Space

# What a sweep that goes on may be asked anew: it leaves the trials' figures alone.
FREE = ("data.dir", "data.placement", "data.download_timeout_s")


@dataclasses.dataclass(frozen=True)
class SweepSpec:
    """The sweep that the flags ask for: trials of `base`, over a space, by an objective."""

    options: TuneOptions
    base: ExperimentConfig
    space: Space
    objective: Objective

    @classmethod
    def of(cls, options: TuneOptions) -> "SweepSpec":
        """Raises InputError where there is no such sweep."""
        _check_no_tpu(options)
        base = config_load.resolve(options.config, options.overrides)
        space = space_lib.load(options.config, options.space, options.dimensions)
        space_check.check(space, base)
        _check_length(options, base)
        _check_overrides(options, space)
        objective = Objective.named(options.objective or _usual_objective(base))
        return cls(options, base, space, objective)

    @functools.cached_property
    def asked(self) -> dict:
        """All that decides which trials there are, and what they come to."""
        config = {f"config.{name}": value for name, value in config_lib.flatten(self.base).items()}
        for name in FREE:
            del config[f"config.{name}"]
        flags = ("tuner", "seed", "max_epochs", "factor", "early_stop")
        each = ("workers_per_trial", "ps_per_trial", "trainer_args")
        return {
            **{name: getattr(self.options, name) for name in (*flags, *each)},
            "objective": self.objective.name,
            **config,
            "space": self.space.as_dict(),
        }

    @property
    def num_trials(self) -> int | None:
        """How many it will be at most, where that is known."""
        limit = self.options.max_trials or TUNERS[self.options.tuner].max_trials
        return min((number for number in (limit, self.space.size) if number), default=None)

    def search_in(self, folder: pathlib.Path) -> Search:
        """The search whose ledger is in that folder, as far as it has come.

        Raises InputError where the ledger is another sweep's, or keras-tuner is missing.
        """
        _import_keras_tuner()
        from trainer.tune.search import oracle

        options = self.options
        source = oracle.create(
            options.tuner,
            self.space,
            self.objective,
            max_trials=options.max_trials,
            seed=options.seed,
            max_epochs=options.max_epochs or self.base.train.epochs,
            factor=options.factor,
        )
        ledger = Ledger(folder / "ledger.jsonl", self.asked)
        return Search(self.objective, source, ledger, self._make_trial, options.early_stop)

    def _make_trial(self, suggestion: Suggestion) -> tuple[ExperimentConfig, tuple[str, ...]]:
        """Its config and its flags of launch and train. Raises ConfigError for a bad combination."""
        options = self.options
        overrides, flags = self.space.split(suggestion.values)
        if suggestion.epochs:
            overrides["train.epochs"] = str(suggestion.epochs)
        usual = {"--workers": str(options.workers_per_trial), "--ps": str(options.ps_per_trial)}
        config = config_load.override(self.base, overrides)
        return config, tuple(f"{name}={value}" for name, value in (usual | flags).items())


def _check_no_tpu(options: TuneOptions) -> None:
    """A TPU is one process's at a time, and a sweep's are forked from one that has TensorFlow."""
    asked = parse(options.trainer_args)
    build = version("tensorflow-tpu")
    if choose.asks_for_tpu(asked.strategy, asked.tpu) or build:
        received = f"tensorflow-tpu {build}" if build else "a TPU, after `--`"
        raise InputError(
            f"`tune` trains on CPUs and GPUs, by the package tensorflow. Received: {received}; run it "
            "where that is, or train each config by itself on a TPU."
        )


def _usual_objective(base: ExperimentConfig) -> str:
    is_classifier = base.data.name in config_lib.CLASSIFICATION_DATASETS
    return "test_accuracy" if is_classifier else "test_loss"


def _check_length(options: TuneOptions, base: ExperimentConfig) -> None:
    if TUNERS[options.tuner].in_epochs and base.train.steps:
        raise InputError(
            f"`train.steps` must be 0 for --tuner={options.tuner}, which counts in epochs. Received: "
            f"{base.train.steps}; add --config.train.steps=0 and --max_epochs=N."
        )


def _check_overrides(options: TuneOptions, space: Space) -> None:
    always = {dimension.name for dimension in space.dimensions if not dimension.when}
    for name, text in options.overrides.items():
        if name in always:
            raise InputError(
                f"`--config.{name}` is searched by the space. Received: {text}; leave it out, or say "
                f"with --space.{name} what to search."
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
