"""How does one task of a job go, from its flags to its exit code?"""

import contextlib
import dataclasses
import os
import pathlib
import time

from absl import logging

from strategies import choose
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.devices import for_strategy
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError, Resumable
from strategies.network.sockets import exposed
from strategies.rendezvous import roll_call
from strategies.rendezvous.membership import Membership
from strategies.runtime import Runtime
from trainer.cli.options import TrainOptions
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.data import registry
from trainer.data.dataset import Dataset
from trainer.process import watchdog
from trainer.process.guardian import Guardian
from trainer.process.health import Health
from trainer.process.signals import StopRequest
from trainer.storage import locate
from trainer.storage.workdir import Workdir
from trainer.task import already_finished, fingerprint
from trainer.task.peer_loss import LostTasks
from trainer.training import batch_split

FAREWELL_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 120.0  # The leader's last save and evaluation, while the others wait for it.


@dataclasses.dataclass(frozen=True)
class TaskRun:
    """What this process was asked to do, and found about its place."""

    options: TrainOptions
    config: ExperimentConfig
    cluster: ClusterSpec
    choice: Choice
    key: bytes
    stop: StopRequest
    guard: Guardian

    def run_evaluator(self) -> int:
        """The task of an evaluator."""
        if not self.options.workdir:
            raise ConfigError(
                "`--workdir` must name the folder in which the trainers save, for an evaluator. "
                "Received: none; give every task the same --workdir."
            )
        from trainer.task import evaluator

        with locate.open_workdir(self.options.workdir).open_readonly() as workdir:
            return evaluator.run_evaluator(
                self.options, self.choice, self.config, workdir, self.stop
            )

    def run_member(self) -> int:
        """The task of a trainer, a coordinator or a server."""
        if not self.cluster.is_leader:
            return self._prepare_and_meet(None)
        workdir = locate.open_workdir(_workdir(self.options, self.config))
        workdir.initialize(self.config)
        with workdir.lock(self.options.startup_timeout_s):
            logging.info("workdir %s", workdir)
            return self._prepare_and_meet(workdir)

    def _prepare_and_meet(self, workdir: Workdir | None) -> int:
        """From the data and the devices to the end; `workdir` where this task writes it."""
        options, config, cluster = self.options, self.config, self.cluster
        dataset = None if self._serves else registry.load(config.data)
        if dataset:
            logging.info("data | %s", dataset.description)
        devices = for_strategy.local_devices(options.devices, self.choice)
        if word := for_strategy.why_no_gpu(self.choice, devices):
            logging.warning("%s", word)
        choice = choose.with_transport(self.choice, options.transport, devices)
        if choice.transport:
            logging.info(
                "transport %s: gradients travel %s", choice.transport, choice.transport_description
            )
        batch_split.check_batch(config, choice, cluster, len(devices))
        theirs = None if cluster.has_ps else dataset
        carried = fingerprint.fingerprint(config, choice, len(devices), theirs)
        membership = self._meet(carried)
        if not membership:
            return EXIT_DONE
        with membership:
            return self._run_with_peers(membership, choice, devices, dataset, workdir)

    def _meet(self, carried: dict) -> Membership | None:
        """All tasks, or None where some are missing and nothing is left to do."""
        where, within_s = self.options.workdir, self.options.startup_timeout_s
        within_s = already_finished.patience_s(within_s, where, self.config, self.cluster)
        try:
            return roll_call.meet(self.cluster, carried, within_s, self.key)
        except Resumable:
            if not already_finished.is_over(where, self.config):
                raise
            logging.info("done | the run in %s was over before, so that nobody is missed", where)
            return None

    def _run_with_peers(
        self,
        membership: Membership,
        choice: Choice,
        devices: list[str],
        dataset: Dataset | None,
        workdir: Workdir | None,
    ) -> int:
        """With all others, who are watched, to the end."""
        options, cluster = self.options, self.cluster
        if word := exposed(cluster, choice.starts_servers, membership.hosts):
            logging.warning("%s", word)
        lost = LostTasks(cluster, self._serves, membership.reconnect)
        membership.watch(lost.on_lost, options.peer_timeout_s, lost.on_back)
        try:
            runtime = self._start(membership, choice, devices)
            if runtime.serves_only:
                with Health.from_env().kept():
                    return runtime.serve(membership.wait_for_exit)
            lost.started = True
            exit_code = self._train(dataset, runtime, workdir)
            return membership.wait_for_all(FINISH_TIMEOUT_S, exit_code)
        except InputError as error:
            if cluster.is_leader:
                membership.broadcast_exit(error.exit_code)
            else:  # What is wrong for all, the leader ends for all: to leave first would be a loss.
                with contextlib.suppress(Resumable):
                    membership.wait_for_exit(FAREWELL_TIMEOUT_S)
            raise
        except Exception as error:
            if isinstance(error, Resumable) or type(error).__module__.startswith("tensorflow"):
                # It may be about a peer that is gone: then the watcher ends this process, and
                # names the first that was lost.
                membership.await_loss(options.peer_timeout_s + 1)
            raise

    def _start(self, membership: Membership, choice: Choice, devices: list[str]) -> Runtime:
        options = self.options
        deaf = self.guard.deaf(
            "starting TensorFlow's servers",
            options.startup_timeout_s,
            membership.connections,
            options.peer_timeout_s,
        )
        # A TPU that is called and does not answer keeps native code waiting without end.
        still = watchdog.Watchdog(options.stall_timeout_s)
        with still, deaf if choice.starts_servers else contextlib.nullcontext():
            runtime = choose.create(choice, self.cluster, devices, membership)
        batch_split.check_replicas(self.config, runtime.num_replicas)  # A TPU's are known only now.
        self.stop.set_grace_period(
            options.stop_grace_s
        )  # A server's too: the leader saves through it.
        return runtime

    def _train(self, dataset: Dataset, runtime: Runtime, workdir: Workdir | None) -> int:
        from trainer.reporting import summary
        from trainer.training import assemble, loop

        began, config = time.monotonic(), self.config
        timeout_s = self.options.stall_timeout_s
        runtime.set_peer_timeout(timeout_s + watchdog.EXTRA_S)
        on_progress = Health.from_env().note
        with watchdog.Watchdog(timeout_s, runtime.waiting_for, on_progress) as watch:
            examples_dir = self._examples_dir(workdir)
            parts = assemble.assemble(config, dataset, runtime, workdir, examples_dir)
            result = loop.train(parts, self.stop, watch)
        if workdir and result.finished:
            summary.write(workdir, config, dataset, runtime, result, time.monotonic() - began)
        if workdir:
            workdir.flush()
        if not result.finished:
            logging.warning("stopped at step %d; run the same command again to go on", result.step)
            return EXIT_RESUME
        return EXIT_DONE

    @property
    def _serves(self) -> bool:
        return self.cluster.has_ps and not self.cluster.is_leader

    def _examples_dir(self, workdir: Workdir | None) -> pathlib.Path | None:
        """Where it logs its examples: the workdir, also of a task that writes nothing else."""
        where = self.options.workdir
        if workdir or not (where and self.config.train.log_examples):
            return workdir and workdir.path
        elsewhere = locate.open_workdir(where)
        elsewhere.make()
        return elsewhere.path


def _workdir(options: TrainOptions, config: ExperimentConfig) -> str | pathlib.Path:
    """The folder asked for, or a fresh one under `runs/`."""
    if options.workdir:
        return options.workdir
    return pathlib.Path("runs", f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
