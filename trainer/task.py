"""How does one task of a job go, from its flags to its exit code?"""

import contextlib
import os
import pathlib
import platform
import threading
import time
from collections.abc import Callable

from absl import logging

from strategies import choose, gpus, roll_call, secret, tpu_preflight
from strategies.addresses import cut, exposed
from strategies.choose import Choice
from strategies.cluster import ClusterSpec, Task
from strategies.errors import EXIT_DONE, EXIT_RESUME, ClusterError, InputError, Resumable
from strategies.membership import Membership
from strategies.packages import version
from trainer import __version__, blocks, datasets, run_end, stall, tensorflow_import
from trainer import config as config_lib
from trainer import workdir as workdir_lib
from trainer.cli import TrainOptions
from trainer.config import ConfigError, ExperimentConfig
from trainer.datasets import Dataset
from trainer.guard import Guard
from trainer.health import Health
from trainer.stop import StopRequest, leave
from trainer.workdir import Workdir

FAREWELL_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 120.0  # The leader's last save and evaluation, while the others wait for it.


def run(options: TrainOptions, cluster: ClusterSpec, guard: Guard) -> int:
    """Runs this process's task of the cluster to its end and returns its exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    stop = StopRequest()
    key = secret.read(options.secret_file)
    config = config_lib.resolve(options.config, options.overrides)
    choice = choose.choose(
        cluster, options.strategy, options.tpu, choose.tpu_from_env(), options.startup_timeout_s
    )
    logging.info("%s | strategy %s: %s", cluster, choice.strategy, choice.reason)
    check_sync_mode(config, choice)
    if cluster.is_evaluator:
        return _follow(options, config, choice, stop)
    return _take_part(options, config, cluster, choice, key, stop, guard)


def _follow(
    options: TrainOptions, config: ExperimentConfig, choice: Choice, stop: StopRequest
) -> int:
    """The task of an evaluator."""
    if not options.workdir:
        raise ConfigError(
            "`--workdir` must name the folder in which the trainers save, for an evaluator. "
            "Received: none; give every task the same --workdir."
        )
    from trainer import evaluator

    with workdir_lib.at(options.workdir).followed() as workdir:
        return evaluator.follow(options, choice, config, workdir, stop)


def _take_part(
    options: TrainOptions,
    config: ExperimentConfig,
    cluster: ClusterSpec,
    choice: Choice,
    key: bytes,
    stop: StopRequest,
    guard: Guard,
) -> int:
    """The task of a trainer, a coordinator or a server."""
    if not cluster.is_leader:
        return _train_together(options, config, cluster, choice, key, stop, guard, None)
    workdir = workdir_lib.at(_workdir(options, config))
    workdir.claim(config)
    with workdir.held(options.startup_timeout_s):
        logging.info("workdir %s", workdir)
        return _train_together(options, config, cluster, choice, key, stop, guard, workdir)


def _train_together(
    options: TrainOptions,
    config: ExperimentConfig,
    cluster: ClusterSpec,
    choice: Choice,
    key: bytes,
    stop: StopRequest,
    guard: Guard,
    workdir: Workdir | None,
) -> int:
    """From the data and the devices to the end, with the others of the cluster."""
    serves = cluster.has_ps and not cluster.is_leader
    dataset = None if serves else datasets.load(config.data)
    if dataset:
        logging.info("data | %s", dataset.description)
    devices = local_devices(options, choice)
    if word := why_no_gpu(choice, devices):
        logging.warning("%s", word)
    choice = choose.with_transport(choice, options.transport, devices)
    if choice.transport:
        logging.info("transport %s: gradients travel %s", choice.transport, choice.way)
    check_batch(config, choice, cluster, len(devices))
    carried = credentials(config, choice, len(devices), None if cluster.has_ps else dataset)
    membership = _meet(options, config, cluster, carried, key)
    if not membership:
        return EXIT_DONE
    with membership:
        if word := exposed(cluster, choice.starts_servers, membership.hosts):
            logging.warning("%s", word)
        watcher = _Watcher(cluster, serves, membership.bring_back)
        membership.watch(watcher.on_lost, options.peer_timeout_s, watcher.on_back)
        try:
            deaf = guard.deaf(
                "starting TensorFlow's servers",
                options.startup_timeout_s,
                membership.connections,
                options.peer_timeout_s,
            )
            # A TPU that is called and does not answer keeps native code waiting without end.
            still = stall.StallWatch(options.stall_timeout_s)
            with still, deaf if choice.starts_servers else contextlib.nullcontext():
                runtime = choose.create(choice, cluster, devices, membership)
            check_replicas(config, runtime.num_replicas)  # A TPU's are known only now.
            stop.give_grace(options.stop_grace_s)  # A server's too: the leader saves through it.
            if runtime.serves_only:
                with Health.from_env().kept():
                    return runtime.serve(membership.wait_for_dismissal)
            watcher.started = True
            exit_code = _train(options, config, dataset, runtime, workdir, stop)
            return membership.finish(FINISH_TIMEOUT_S, exit_code)
        except InputError as error:
            if cluster.is_leader:
                membership.dismiss(error.exit_code)
            else:  # What is wrong for all, the leader ends for all: to leave first would be a loss.
                with contextlib.suppress(Resumable):
                    membership.wait_for_dismissal(FAREWELL_TIMEOUT_S)
            raise
        except Exception as error:
            if isinstance(error, Resumable) or type(error).__module__.startswith("tensorflow"):
                # It may be about a peer that is gone: then the watcher ends this process, and
                # names the first that was lost.
                membership.await_loss(options.peer_timeout_s + 1)
            raise


def _meet(
    options: TrainOptions, config: ExperimentConfig, cluster: ClusterSpec, carried: dict, key: bytes
) -> Membership | None:
    """All tasks, or None where some are missing and nothing is left to do."""
    patience_s = run_end.patience_s(options.startup_timeout_s, options.workdir, config, cluster)
    try:
        return roll_call.meet(cluster, carried, patience_s, key)
    except Resumable:
        if not run_end.is_over(options.workdir, config):
            raise
        logging.info(
            "done | the run in %s was over before, so that nobody is missed", options.workdir
        )
        return None


def _train(options, config, dataset, runtime, workdir, stop) -> int:
    from trainer import report, train

    began = time.monotonic()
    runtime.give_up_after(options.stall_timeout_s + stall.EXTRA_S)
    on_progress = Health.from_env().note
    with stall.StallWatch(options.stall_timeout_s, runtime.awaited, on_progress) as watch:
        result = train.train_and_evaluate(
            config, dataset, runtime, workdir, stop, watch, _examples_dir(options, config, workdir)
        )
    if workdir and result.finished:
        report.write(workdir, config, dataset, runtime, result, time.monotonic() - began)
    if workdir:
        workdir.settle()
    if not result.finished:
        logging.warning("stopped at step %d; run the same command again to go on", result.step)
        return EXIT_RESUME
    return EXIT_DONE


def local_devices(options: TrainOptions, choice: Choice) -> list[str]:
    """This task's replica devices. A TPU has its own, and a server's are TensorFlow's to take.

    Raises ClusterError where there are not so many, or no TPU.
    """
    if choice.strategy == "tpu":
        if options.devices:
            raise ClusterError(
                "`--devices` is for GPUs and the CPU; a TPU trains on all its cores. Received: "
                f"{options.devices} with the TPU {choice.tpu!r}; leave it out."
            )
        tpu_preflight.preflight(choice.tpu)
        tpu_preflight.keep_library_out(choice.tpu, os.environ)
        return []
    if for_tpus := version("tensorflow-tpu"):
        raise ClusterError(
            f"`--strategy={choice.strategy}` needs the package tensorflow, as tensorflow-tpu compiles "
            f"for TPUs alone. Received: tensorflow-tpu {for_tpus}; give --tpu=local on a TPU VM, or "
            "install tensorflow in its place."
        )
    with tensorflow_import.quietly():
        from strategies import devices

        servers_own = choice.strategy == "parameter_server"
        names = devices.server_devices() if servers_own else devices.local_devices(options.devices)
    return names


def why_no_gpu(choice: Choice, devices: list[str]) -> str:
    """As `gpus.why_none`; "" with parameter servers, whose own GPUs are TensorFlow's to find."""
    return "" if choice.strategy == "parameter_server" else gpus.why_none(devices)


def _workdir(options: TrainOptions, config: ExperimentConfig) -> str | pathlib.Path:
    """The folder asked for, or a fresh one under `runs/`."""
    if options.workdir:
        return options.workdir
    return pathlib.Path("runs", f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")


def _examples_dir(options, config, workdir: Workdir | None) -> pathlib.Path | None:
    """Where this task logs its examples: the workdir, also of a task that writes nothing else."""
    if workdir or not (options.workdir and config.train.log_examples):
        return workdir and workdir.path
    elsewhere = workdir_lib.at(options.workdir)
    elsewhere.make()
    return elsewhere.path


def credentials(
    config: ExperimentConfig, choice: Choice, num_devices: int, dataset: Dataset | None
) -> dict:
    """What all tasks of a job must have in common. Where the data lies may differ.

    `dataset` is None with parameter servers, where the chief alone reads it.
    """
    flat = config_lib.flatten(config)
    return {
        **versions(),
        "devices": num_devices,
        "transport": choice.transport,
        "config": {name: value for name, value in flat.items() if name != "data.dir"},
        "data": dataset and dataset.fingerprint,
    }


def versions() -> dict[str, str | None]:
    """What tasks on different machines may have installed differently, and must not."""
    return {
        "version": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in ("tensorflow", "keras", "numpy")},
    }


def check_sync_mode(config: ExperimentConfig, choice: Choice) -> None:
    """Raises ConfigError where the config asks for an exchange that the strategy does not have."""
    if config.sync.mode not in ("auto", choice.sync_mode):
        raise ConfigError(
            f"`sync.mode` must be auto or {choice.sync_mode} with {choice.strategy}. "
            f"Received: {config.sync.mode!r}; {choice.reason}."
        )


def num_replicas(choice: Choice, cluster: ClusterSpec, num_devices: int) -> int:
    """Replicas that share one global batch. With parameter servers a step is one worker's."""
    return 1 if choice.strategy == "parameter_server" else len(cluster.trainers()) * num_devices


def check_batch(
    config: ExperimentConfig, choice: Choice, cluster: ClusterSpec, num_devices: int
) -> None:
    """`check_replicas`, as far as they are known before there is a runtime."""
    check_replicas(config, num_replicas(choice, cluster, num_devices))


def check_replicas(config: ExperimentConfig, replicas: int) -> None:
    """Raises ConfigError where the global batch, or its blocks, do not divide among the replicas."""
    batch = config.data.global_batch_size
    if replicas and batch % replicas:
        down, up = batch // replicas * replicas, -(-batch // replicas) * replicas
        raise ConfigError(
            "`data.global_batch_size` must divide evenly among replicas. Received: "
            f"{batch} for {replicas} replicas; try {f'{down} or {up}' if down else up}."
        )
    blocks.check(config, replicas)


class _Watcher:
    """Decides which losses this task bears, and has who was lost brought back."""

    def __init__(self, cluster: ClusterSpec, serves: bool, bring_back: Callable[[Task], None]):
        self._cluster = cluster
        self._serves = serves
        self._bring_back = bring_back
        self._workers = set(cluster.trainers()) if cluster.has_ps else set()
        self.started = False  # Before that even a worker's loss would leave TensorFlow waiting.

    def on_lost(self, task: Task, reason: str) -> None:
        self._workers.discard(task)
        if self._serves and task != self._cluster.leader:
            # The leader decides, and is itself watched.
            threading.Thread(target=cut, args=(self._cluster.address(task),), daemon=True).start()
            return
        spare = task.type == "worker" and self._cluster.has_ps and self.started
        if spare and self._workers:
            logging.warning("%s was lost (%s); the others take over its work", task, reason)
            self._bring_back(task)
            return
        leave(EXIT_RESUME, f"{task} was lost ({reason}); run the same command again to go on")

    def on_back(self, task: Task) -> None:
        self._workers.add(task)
        if not self._serves:
            logging.info("%s is back, and takes work again", task)
