"""Which variants of a config are compared?

`Comparison` is a sweep whose only dimension is the name of a variant. The variants are all combinations
of the values that `--vary` gives for several fields. A value may have its main numbers after it:
parameters:20 is `sync.mode` parameters with `sync.every_steps` 20.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence

from strategies.errors import InputError
from strategies.sync.agreement import Agreement
from strategies.sync.asynchronous import Asynchronous
from strategies.sync.modes import MODES
from trainer.cli.options import TuneOptions
from trainer.config.data_schema import PARTITIONS
from trainer.config.fields import ConfigError, short_json
from trainer.config.load import override, resolve
from trainer.config.schema import ExperimentConfig
from trainer.reporting.format import short_names
from trainer.tune.search.oracle import Suggestion
from trainer.tune.search.record import Objective
from trainer.tune.space.dimension import choice
from trainer.tune.space.space import Space
from trainer.tune.sweep import SweepSpec, check_no_tpu, default_objective

NAME = "name"  # The dimension.

# The fields that the numbers after a value set, in their order.
NUMBERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sync.mode": {
        "parameters": ("sync.every_steps", "sync.replicas"),
        "dynamic": ("sync.every_steps", "sync.replicas"),
        "federated": ("federated.clients_per_round", "federated.local_epochs"),
        "async": ("sync.max_staleness",),
        "async_window": ("sync.window_steps", "sync.max_staleness"),
    },
    "sync.compression": {"topk": ("sync.topk_share", "sync.topk_warmup_steps")},
    "sync.outer": {
        "sgd": ("sync.outer_learning_rate", "sync.outer_momentum"),
        "nesterov": ("sync.outer_learning_rate", "sync.outer_momentum"),
    },
    "data.partition": {
        **{name: ("data.partitions",) for name in PARTITIONS if name != "none"},
        "dirichlet": ("data.partitions", "data.partition_alpha"),
    },
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """`values` are as they were typed, by varied field; `overrides` the fields that they set."""

    values: Mapping[str, str]
    overrides: Mapping[str, str]

    @property
    def name(self) -> str:
        """What it is called on the screen and on the page."""
        if len(self.values) == 1:
            return next(iter(self.values.values()))
        short = short_names(self.values)
        return " ".join(f"{short[field]}={text}" for field, text in self.values.items())


def variants(vary: Sequence[str]) -> list[Variant]:
    """All combinations, the last field varying fastest.

    Args:
      vary: a text for each field, as in "sync.mode=gradients,parameters:20".

    Raises:
      ConfigError: a text has another form, or the same value twice.
    """
    fields: dict[str, list[str]] = {}
    for text in vary:
        field, _, values = text.partition("=")
        texts = values.split("|" if "|" in values else ",")
        if not field or not all(texts) or field in fields or len({*texts}) < len(texts):
            raise ConfigError(
                "`--vary` must be a field, given once, and its different values. Received: "
                f"{short_json(text)}; write --vary=sync.mode=gradients,parameters:20."
            )
        fields[field] = texts
    made = [
        Variant(dict(zip(fields, texts, strict=True)), _overrides(zip(fields, texts, strict=True)))
        for texts in itertools.product(*fields.values())
    ]
    if len(made) < 2:
        raise ConfigError(
            f"`--vary` must give at least two variants. Received: {short_json([*vary])}; try "
            "--vary=sync.mode=gradients,parameters:20."
        )
    return made


def _overrides(values: "zip[tuple[str, str]]") -> dict[str, str]:
    found: dict[str, str] = {}
    for field, text in values:
        value, *numbers = text.split(":")
        known = NUMBERS.get(field, {}).get(value, ())
        if field not in NUMBERS:  # A colon there is part of the value.
            value, numbers = text, []
        if len(numbers) > len(known):
            takes = f"takes {' and '.join(known)}" if known else "takes no number"
            raise ConfigError(
                f"`--vary` has more numbers than {field}={value} takes. Received: {short_json(text)}; it "
                f"{takes}."
            )
        found |= {field: value, **dict(zip(known, numbers, strict=False))}
    return found


@dataclasses.dataclass(frozen=True)
class Comparison(SweepSpec):
    """A sweep that trains each of the variants."""

    variants: tuple[Variant, ...] = ()
    link: str = ""

    @classmethod
    def of(cls, options: TuneOptions, vary: Sequence[str], link: str = "") -> "Comparison":
        """Raises InputError where a variant is refused, and names it."""
        check_no_tpu(options)
        if link and options.cluster:
            raise InputError(
                "`--cluster` must be left out with `--link`, behind which no other machine is reached. "
                f"Received: {short_json(options.cluster)}; leave out one of them."
            )
        made = variants(vary)
        for variant in made:
            for field in variant.overrides:
                if field in options.overrides:
                    raise InputError(
                        f"`--config.{field}` must be left out, as `--vary` sets it. Received: "
                        f"{short_json(options.overrides[field])}; keep one of them."
                    )
        configs = [_config(options, variant) for variant in made]
        names = choice(*(variant.name for variant in made))
        return cls(
            options,
            configs[0],
            Space((dataclasses.replace(names, name=NAME),)),
            Objective.named(default_objective(options, configs[0])),
            tuple(made),
            link,
        )

    @functools.cached_property
    def settings(self) -> dict:
        vary = [dict(variant.overrides) for variant in self.variants]
        return {**super().settings, "vary": vary, "link": self.link}

    @property
    def by_name(self) -> dict[str, Variant]:
        return {variant.name: variant for variant in self.variants}

    def _make_trial(self, suggestion: Suggestion) -> tuple[ExperimentConfig, tuple[str, ...]]:
        config = _config(self.options, self.by_name[suggestion.values[NAME]])
        is_async = issubclass(MODES.get(config.sync.mode, Agreement), Asynchronous)
        num_servers = max(self.options.ps_per_trial, 1) if is_async else 0
        return config, (f"--workers={self.options.workers_per_trial}", f"--ps={num_servers}")


def _config(options: TuneOptions, variant: Variant) -> ExperimentConfig:
    try:
        return _as_long(resolve(options.config, {**options.overrides, **variant.overrides}))
    except ConfigError as error:
        typed = " ".join(f"{field}={text}" for field, text in variant.values.items())
        raise ConfigError(f"the variant {typed} is refused: {error}") from None


def _as_long(config: ExperimentConfig) -> ExperimentConfig:
    """The config, with federated rounds for the examples that its epochs have.

    `train.epochs` counts rounds there, and the other variants pass over all examples in an epoch.
    """
    shares = config.data.partitions
    if config.sync.mode != "federated" or config.train.steps or not shares:
        return config
    rounds = shares / (config.federated.clients_per_round * config.federated.local_epochs)
    evaluated = config.train.eval_every_epochs
    return override(
        config,
        {
            "train.epochs": str(math.ceil(config.train.epochs * rounds)),
            "train.eval_every_epochs": str(max(1, round(evaluated * rounds)) if evaluated else 0),
        },
    )
