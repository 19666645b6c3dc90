"""What would `train` do here with these flags, and what is wrong? `check` prints one line per part.

It trains, serves and writes nothing. It continues after a part that is wrong, so one run of `check`
finds every mistake.
"""

import functools
import os
import platform
from collections.abc import Callable, Iterator
from typing import TypeVar

from strategies import choose, inherited
from strategies.choose import Choice
from strategies.cluster import resolve
from strategies.cluster.spec import ClusterSpec
from strategies.devices import for_strategy, gpus
from strategies.errors import EXIT_BAD_INPUT, EXIT_DONE, InputError, Resumable
from strategies.network import security
from strategies.network.sockets import public_address_warning
from strategies.packages import version
from strategies.rendezvous import probe
from trainer import __version__
from trainer.cli.options import CheckOptions
from trainer.config import load as config_load
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data, registry
from trainer.data.dataset import Dataset
from trainer.estimate import tpu_report
from trainer.process import console
from trainer.storage import locate, saved_weights
from trainer.task import described, rules, shares
from trainer.training import batch_split

_PROBE_S = 2.0
_HERE = (
    "config cluster strategy devices compiled batches data shares augment model parts optimizer tables "
    "privacy weights workdir peers packages"
).split()
_FOR_A_TPU = "config data tpu packages".split()  # For a TPU that is somewhere else.
_ASKED_BY: dict[str, Callable[[ExperimentConfig], object]] = {
    "weights": lambda config: config.model.initial_weights or config.model.frozen_layers,
    "parts": lambda config: config.model.blocks,
    "shares": lambda config: config.data.partition != "none",
    "optimizer": lambda config: config.sync.shard_optimizer,
    "tables": lambda config: config.ps.sparse_embeddings,
    "privacy": lambda config: config.privacy.clip_norm,
}
_SIGNS = {True: "ok", False: "WRONG", None: "?"}

_Found = TypeVar("_Found")


def examine(options: CheckOptions) -> Iterator[tuple[str, bool | None, str]]:
    """(name, whether it is right, what was found) for each part, in order.

    None instead of a boolean: it could not be checked, because a part that it depends on is wrong.
    """
    check = _Check(options)
    parts = _FOR_A_TPU if options.tpu_topology else _HERE
    for name in parts:
        if check.applies(name):
            yield name, *_result(getattr(check, name))


def _result(check_part: Callable[[], str]) -> tuple[bool | None, str]:
    try:
        return True, check_part()
    except _Unknown as error:
        return None, str(error)
    except (InputError, Resumable) as error:
        return False, str(error)


class _Unknown(Exception):
    """A part cannot be checked because one that it depends on is wrong."""


class _Check:
    """A method per part. Later parts use what earlier ones found."""

    def __init__(self, options: CheckOptions):
        self._options = options
        self._config: ExperimentConfig | None = None
        self._cluster: ClusterSpec | None = None
        self._choice: Choice | None = None
        self._devices: list[str] | None = None

    def config(self) -> str:
        config = config_load.resolve(self._options.config, self._options.overrides)
        self._config = config
        units = "rounds" if config.sync.mode == "federated" else "epochs"
        length = (
            f"{config.train.steps} steps"
            if config.train.steps
            else f"{config.train.epochs} {units}"
        )
        if config.recipe:
            return f"{config.name}: the model of {config.recipe}, {length}"
        data = config.data.source or config.data.name
        return f"{config.name}: {data}, {config.optimizer.name}, {length}"

    def cluster(self) -> str:
        self._cluster = cluster = resolve.find(self._options.cluster_flags)
        gpus.take_own_share(cluster.source)
        lines = [str(cluster)]
        for one in cluster.tasks() if cluster.jobs else ():
            me = "  (this process)" if one == cluster.task else ""
            lines.append(f"{one} at {cluster.address(one)}{me}")
        return "\n".join(lines)

    def strategy(self) -> str:
        cluster = self._known(self._cluster, "cluster")
        self._choice = choice = choose.choose(
            cluster, self._options.strategy, self._options.tpu, choose.tpu_from_env()
        )
        if self._config:
            self._choice = choice = batch_split.with_agreement(self._config, choice)
        return f"{choice.strategy}: {choice.reason}"

    def devices(self) -> str:
        cluster, choice = self._known_strategy()
        if cluster.is_evaluator:
            choice = choice.for_evaluation()
        self._devices = devices = for_strategy.local_devices(self._options.devices, choice)
        if devices and not cluster.is_evaluator:
            choice = choose.with_transport(choice, self._options.transport, devices)
            if self._config:
                mesh = self._options.mesh
                choice = rules.with_mesh(self._config, choice, mesh, cluster, devices)
            self._choice = choice
        shown = ", ".join(devices) or "the cores of the TPU"
        if warning := for_strategy.why_no_gpu(choice, devices):
            shown += f"\nwarning: {warning}"
        serves = choice.serves(cluster)
        return "the devices that TensorFlow's server finds" if serves else shown

    def compiled(self) -> str:
        _, choice = self._known_strategy()
        cache = for_strategy.compile_cache(self._options.compile_cache, choice)
        return f"warning: {cache}" if cache.is_problem else str(cache)

    def batches(self) -> str:
        config, devices = self._known(self._config, "config"), self._known(self._devices, "devices")
        cluster, choice = self._known_strategy()
        if cluster.is_evaluator:  # It trains on no batch.
            return f"{config.data.global_batch_size} examples per step, of the tasks that train"
        rules.check_batch(config, choice, cluster, devices)
        return batch_split.describe(config, choice, cluster, devices)

    def data(self) -> str:
        config = self._known(self._config, "config")
        if not (recipe_data.brings_data(config) or recipe_data.depends_on_examples(config)):
            return registry.describe(config.data)
        dataset = self._recipes_data
        if self._cluster and self._choice and self._devices is not None:
            loaded = config, self._choice, self._cluster, len(self._devices), dataset
            rules.check_loaded(*loaded)
        return dataset.description

    def shares(self) -> str:
        path = self._options.workdir
        workdir = locate.open_workdir(path) if path else None
        config = self._known(self._config, "config")
        return shares.describe(shares.prepare(config, self._recipes_data, workdir))

    @functools.cached_property
    def _recipes_data(self) -> Dataset:
        """The data of a recipe with functions of its own, which may take long to make."""
        config = self._known(self._config, "config")
        self._known(self._devices, "devices")  # TensorFlow must have found them.
        return recipe_data.load(config)

    def applies(self, part: str) -> bool:
        """Whether there is such a part. Only some configs have one, or recipes with their own model."""
        if part in _ASKED_BY:
            return bool(self._config and _ASKED_BY[part](self._config))
        if part == "augment" and self._config and self._config.data.augment:
            return True
        if part not in ("augment", "model"):
            return True
        if not self._config or not self._config.recipe:
            return False
        try:
            recipe = recipe_data.recipe_of(self._config)
        except InputError:
            return part == "model"  # Which says what is wrong.
        return part == "model" or bool(recipe and recipe.defines(part))

    def augment(self) -> str:
        return described.augment(self._known(self._config, "config"), self._recipes_data)

    def model(self) -> str:
        config = self._known(self._config, "config")
        return described.model(config, self._recipes_data, self._choice, self._devices)

    def parts(self) -> str:
        config, choice = self._known(self._config, "config"), self._known(self._choice, "strategy")
        return described.parts(config, self._recipes_data, choice.mesh)

    def weights(self) -> str:
        config = self._known(self._config, "config")
        return described.weights(config, self._recipes_data, self._reads_weights())

    def optimizer(self) -> str:
        config, (cluster, choice) = self._known(self._config, "config"), self._known_strategy()
        return described.optimizer(config, self._recipes_data, choice, cluster)

    def tables(self) -> str:
        return described.tables(self._known(self._config, "config"), self._recipes_data)

    def privacy(self) -> str:
        return described.privacy(self._known(self._config, "config"), self._recipes_data)

    def _reads_weights(self) -> bool:
        """Whether this task reads the initial weights: others get them, and a run may resume."""
        if self._cluster and not self._cluster.is_leader:
            return False
        if not self._options.workdir:
            return True
        workdir = locate.open_workdir(self._options.workdir)
        return saved_weights.recorded(workdir.checkpoints) is None

    def workdir(self) -> str:
        config, cluster = self._known(self._config, "config"), self._cluster
        if cluster:
            rules.check_evaluator(cluster, self._options.workdir)
        if cluster and not cluster.is_leader and not config.train.log_examples:
            return f"{cluster.leader} writes it"
        if not self._options.workdir:
            return "a new folder under runs/"
        return locate.open_workdir(self._options.workdir).examine(config)

    def peers(self) -> str:
        cluster = self._known(self._cluster, "cluster")
        secured = security.find(self._options.security_flags)
        probe.check_own_address(cluster)
        found = probe.probe(cluster, _PROBE_S, secured)
        if not found:
            return "none: this is a single task"
        lines = [f"{one} at {cluster.address(one)}: {_answer(word)}" for one, word in found.items()]
        starts_servers = self._choice is not None and self._choice.starts_servers
        lines.append(secured.describe(starts_servers))
        if proxies := inherited.ignored_proxies():
            lines.append(f"{' and '.join(proxies)}: not used for peers, only for downloads")
        if warning := public_address_warning(cluster, starts_servers, security=secured):
            lines.append(f"warning: {warning}")
        return "\n".join(lines)

    def packages(self) -> str:
        names = ("tensorflow", "keras", "tensorflow-datasets", "numpy")
        found = [f"{name} {version(name) or 'not installed'}" for name in names]
        shown = f"muster {__version__}, Python {platform.python_version()}, {', '.join(found)}"
        if ignored := inherited.ignored_keras():
            what = "runs use TensorFlow with Keras's defaults"
            shown += f"\nwarning: {' and '.join(ignored)} is ignored: {what}"
        return shown

    def tpu(self) -> str:
        config = self._known(self._config, "config")
        load = functools.cache(recipe_data.load)

        def computation_for(runtime):
            from trainer.training import assemble  # It imports TensorFlow.

            return assemble.computation(config, load(config), runtime)

        return tpu_report.report(self._options.tpu_topology, computation_for)

    def _known_strategy(self) -> tuple[ClusterSpec, Choice]:
        choice = self._known(self._choice, "strategy")
        return self._known(self._cluster, "cluster"), choice

    def _known(self, value: _Found | None, part: str) -> _Found:
        if value is None:
            raise _Unknown(f"unknown while `{part}` is wrong")
        return value


def _answer(word: str) -> str:
    # A task listens from its roll call on; the leader, which connects to the others, once it trains.
    return word if word == "answers" else f"{word} (not started yet, or not reachable)"


def run(options: CheckOptions) -> int:
    """Prints what was found. Returns 0 if `train` would start, here or on the TPU asked about, else 2."""
    if options.tpu_topology:  # Otherwise libtpu searches for minutes for a Google Cloud around it.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    wrong = 0
    for name, is_right, found in examine(options):
        wrong += is_right is False
        first, *more = found.splitlines()
        lines = [f"{_SIGNS[is_right]:<5} {name:<9} {first}", *(f"{'':16}{line}" for line in more)]
        console.print_result("\n".join(lines))
    place = f" on {options.tpu_topology}" if options.tpu_topology else ""
    fix = "fix it first" if wrong == 1 else "fix them first"
    conclusion = f"{wrong} wrong: {fix}" if wrong else f"ready: `train` would start{place}"
    console.print_result(f"\n{conclusion}")
    return EXIT_BAD_INPUT if wrong else EXIT_DONE
