"""What would `train` do here with these flags, and what is wrong?

Nothing is trained, served or written. Every part is looked at even where one before it failed, so one
run of `check` finds all there is to mend.
"""

import os
import platform
from collections.abc import Callable, Iterator

from strategies import choose
from strategies.cluster import resolve
from strategies.devices import for_strategy, gpus
from strategies.errors import EXIT_BAD_INPUT, EXIT_DONE, InputError, Resumable
from strategies.network import shared_secret
from strategies.network.sockets import exposed
from strategies.packages import version
from strategies.rendezvous import roll_call
from trainer import __version__
from trainer.cli.options import CheckOptions
from trainer.config import load as config_load
from trainer.data import registry
from trainer.estimate import tpu_compile
from trainer.storage import locate
from trainer.training import batch_split

_PROBE_S = 2.0
_HERE = "config cluster strategy devices batches data workdir peers packages".split()
_FOR_A_TPU = "config data tpu packages".split()  # Where that TPU is not.
_SIGNS = {True: "ok", False: "WRONG", None: "?"}


def examine(options: CheckOptions) -> Iterator[tuple[str, bool | None, str]]:
    """(what was looked at, whether it is well, what was found) for each part, in order.

    None: it could not be looked at, as a part it builds on is wrong.
    """
    checking = _Check(options)
    parts = _FOR_A_TPU if options.tpu_topology else _HERE
    for name in parts:
        yield name, *_looked_at(getattr(checking, name))


def _looked_at(look: Callable[[], str]) -> tuple[bool | None, str]:
    try:
        return True, look()
    except _Unknown as error:
        return None, str(error)
    except (InputError, Resumable) as error:
        return False, str(error)


class _Unknown(Exception):
    """A part that cannot be looked at because one it builds on is wrong."""


class _Check:
    """One look at everything; later parts use what earlier ones found."""

    def __init__(self, options: CheckOptions):
        self._options = options
        self._config = self._cluster = self._choice = self._devices = None

    def config(self) -> str:
        self._config = config_load.resolve(self._options.config, self._options.overrides)
        config = self._config
        length = (
            f"{config.train.steps} steps" if config.train.steps else f"{config.train.epochs} epochs"
        )
        return f"{config.name}: {config.data.name}, {config.optimizer.name}, {length}"

    def cluster(self) -> str:
        self._cluster = resolve.find(self._options.cluster_flags)
        gpus.take_own_share(self._cluster.source)
        lines = [str(self._cluster)]
        for one in self._cluster.tasks() if self._cluster.jobs else ():
            me = "  (this process)" if one == self._cluster.task else ""
            lines.append(f"{one} at {self._cluster.address(one)}{me}")
        return "\n".join(lines)

    def strategy(self) -> str:
        cluster = self._known(self._cluster, "cluster")
        self._choice = choose.choose(
            cluster, self._options.strategy, self._options.tpu, choose.tpu_from_env()
        )
        if self._config:
            batch_split.check_sync_mode(self._config, self._choice)
        return f"{self._choice.strategy}: {self._choice.reason}"

    def devices(self) -> str:
        choice = self._known(self._choice, "strategy")
        serves = self._cluster.has_ps and not self._cluster.is_leader
        self._devices = for_strategy.local_devices(self._options.devices, choice)
        if self._devices:
            self._choice = choose.with_transport(choice, self._options.transport, self._devices)
        shown = ", ".join(self._devices) or "the cores of the TPU"
        if word := for_strategy.why_no_gpu(choice, self._devices):
            shown += f"\nwarning: {word}"
        return "those TensorFlow's server finds" if serves else shown

    def batches(self) -> str:
        config, devices = self._known(self._config, "config"), self._known(self._devices, "devices")
        batch_split.check_batch(config, self._choice, self._cluster, len(devices))
        replicas = batch_split.num_replicas(self._choice, self._cluster, len(devices))
        batch = config.data.global_batch_size
        if self._choice.strategy == "parameter_server":
            workers = len(self._cluster.trainers())
            return f"{batch} examples a step, each step on one of {workers} workers"
        if not replicas:
            return f"{batch} examples a step, over the cores of the TPU"
        return f"{batch} examples a step = {replicas} x {batch // replicas}"

    def data(self) -> str:
        return registry.find(self._known(self._config, "config").data)

    def workdir(self) -> str:
        config = self._known(self._config, "config")
        if not self._options.workdir:
            return "a fresh folder under runs/"
        return locate.open_workdir(self._options.workdir).examine(config)

    def peers(self) -> str:
        cluster = self._known(self._cluster, "cluster")
        shared = shared_secret.read(self._options.secret_file)
        roll_call.check_own_address(cluster)
        found = roll_call.probe(cluster, _PROBE_S)
        if not found:
            return "none: this process trains alone"
        words = [f"{one} at {cluster.address(one)}: {_peer(word)}" for one, word in found.items()]
        words.append(
            "they share a secret" if shared else "no secret: whoever reaches them can take part"
        )
        servers = bool(self._choice) and self._choice.starts_servers
        if word := exposed(cluster, servers):
            words.append(f"warning: {word}")
        return "\n".join(words)

    def packages(self) -> str:
        names = ("tensorflow", "keras", "tensorflow-datasets", "numpy")
        found = [f"{name} {version(name) or 'not installed'}" for name in names]
        return f"muster {__version__}, Python {platform.python_version()}, {', '.join(found)}"

    def tpu(self) -> str:
        config = self._known(self._config, "config")
        return tpu_compile.report(config, self._options.tpu_topology)

    def _known(self, value, part: str):
        if value is None:
            raise _Unknown(f"unknown while `{part}` is wrong")
        return value


def _peer(word: str) -> str:
    # A task listens from its roll call on; the leader, who calls, only once training begins.
    return "answers" if word == "answers" else f"{word} (not started yet, or out of reach)"


def run(options: CheckOptions) -> int:
    """Prints what was found; 0 where `train` would start, or would on that TPU, else 2."""
    if options.tpu_topology:  # Or libtpu would look for a Google Cloud around it, for minutes.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    wrong = 0
    for name, is_well, found in examine(options):
        wrong += is_well is False
        first, *more = found.splitlines()
        print(f"{_SIGNS[is_well]:<5} {name:<9} {first}")
        for line in more:
            print(f"{'':16}{line}")
    place = f" on {options.tpu_topology}" if options.tpu_topology else ""
    print(f"\n{wrong} wrong: mend that first" if wrong else f"\nready: `train` would start{place}")
    return EXIT_BAD_INPUT if wrong else EXIT_DONE
