"""How does a task train with its peers? It watches them, starts its runtime, trains, and ends with them.

An error that every task finds ends the run for all at once; one that a lost peer caused names the peer.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from absl import logging

from strategies import create
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError, Resumable
from strategies.network.sockets import public_address_warning
from strategies.rendezvous.membership import Membership
from strategies.runtime import Runtime
from trainer.process import report, watchdog
from trainer.process.health import Health
from trainer.storage.workdir import Workdir
from trainer.task import prepare, recipe_writer, run_report, shares, step_faults
from trainer.task.context import TaskContext
from trainer.task.peer_loss import PeerLossPolicy
from trainer.task.prepare import Prepared
from trainer.task.run_report import Trained
from trainer.training import batch_split

LEADER_EXIT_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 120.0  # For the leader's last save and evaluation, while the others wait for it.


class Session:
    """From the moment that all tasks have met until the run ends; `workdir` only where it writes one."""

    def __init__(
        self,
        task: TaskContext,
        prepared: Prepared,
        membership: Membership,
        workdir: Workdir | None,
    ):
        self._task = task
        self._prepared = prepared
        self._membership = membership
        self._workdir = workdir
        self._trained: Trained | None = None

    def run(self) -> int:
        """Trains with the other tasks until the run ends, watching for lost peers. The exit code."""
        cluster, choice, membership = self._task.cluster, self._prepared.choice, self._membership
        if warning := public_address_warning(
            cluster, choice.starts_servers, membership.hosts, membership.security
        ):
            logging.warning("%s", warning)
        timeline = self._task.timeline
        losses = PeerLossPolicy(cluster, choice, membership.reconnect, timeline.note)
        membership.watch(losses.on_lost, self._task.options.peer_timeout_s, losses.on_back)
        if folder := prepare.timeline_dir(self._task, self._workdir):
            timeline.keep_in(folder, cluster.task)
        try:
            with self._ending_together():
                exit_code = self._run_with_peers(losses)
        except Exception as error:
            self._record_end(" ".join(str(error).split()) or type(error).__name__)
            raise
        self._record_end("finished" if exit_code == EXIT_DONE else "stopped")
        return exit_code

    def _run_with_peers(self, losses: PeerLossPolicy) -> int:
        timeline, membership = self._task.timeline, self._membership
        runtime = self._start_runtime()
        if runtime.serves_only:
            timeline.enter("serve")
            with Health.from_env().recording():
                report.progress("serving")
                return runtime.serve(membership.wait_for_exit)
        losses.started = True
        exit_code = self._train(runtime)
        timeline.enter("wait")
        return membership.wait_for_all(FINISH_TIMEOUT_S, exit_code)

    def _record_end(self, reason: str) -> None:
        """Records why this task ends. The one that writes the workdir writes its report, too."""
        self._task.timeline.end(reason)
        if self._workdir and self._task.options.report:
            run_report.write(self._task, self._prepared, self._workdir, self._trained)

    @contextlib.contextmanager
    def _ending_together(self) -> Iterator[None]:
        """Has an error of the body end the whole run, with the right task named."""
        membership = self._membership
        try:
            yield
        except InputError as error:
            if self._task.cluster.is_leader:
                membership.broadcast_exit(error.exit_code)
            else:
                # The leader finds the same error and ends the run for everyone: leaving first would
                # look like a crash.
                with contextlib.suppress(Resumable):
                    membership.wait_for_exit(LEADER_EXIT_TIMEOUT_S)
            raise
        except Exception as error:
            if isinstance(error, Resumable) or type(error).__module__.startswith("tensorflow"):
                # A lost peer may be the cause. Then the watching thread ends this process, and names
                # the peer that was lost first.
                membership.wait_for_loss(self._task.options.peer_timeout_s + 1)
            raise

    def _start_runtime(self) -> Runtime:
        task, choice, membership = self._task, self._prepared.choice, self._membership
        options = task.options
        report.progress("starting the devices")
        guarded = task.guardian.watch_while_blocked(
            "starting TensorFlow's servers",
            options.startup_timeout_s,
            membership.connections,  # It may be blocked before it has acted on a loss.
            options.peer_timeout_s,
        )
        # Native code that calls a TPU waits forever for one that does not answer.
        with (
            watchdog.Watchdog(options.stall_timeout_s),
            guarded if choice.starts_servers else contextlib.nullcontext(),
        ):
            runtime = create.create(choice, task.cluster, self._prepared.devices, membership)
        # Only now are the replicas of a TPU known.
        batch_split.check_batch(task.config, batch_split.Replicas.of_runtime(runtime))
        # For a server too: the leader saves through it.
        task.stop.set_grace_period(options.stop_grace_s)
        return runtime

    def _train(self, runtime: Runtime) -> int:
        from trainer.metrics import timeline
        from trainer.reporting import goodput, summary
        from trainer.training import assemble, loop, model_identity, step_profile

        task, dataset, workdir = self._task, self._prepared.dataset, self._workdir
        assert dataset is not None  # Only a task that serves has none.
        trackers = recipe_writer.find(task, workdir)
        traces = prepare.profile_dir(task, workdir)
        profile = step_profile.StepProfile(task.options.profile_steps, traces)
        began, timeout_s = time.monotonic(), task.options.stall_timeout_s
        runtime.set_peer_timeout(timeout_s + watchdog.TIMER_DELAY_S)
        on_progress = Health.from_env().record_progress
        with watchdog.Watchdog(timeout_s, runtime.waiting_for, on_progress) as watch:
            examples_dir = prepare.examples_dir(task, workdir)
            dataset = shares.hand_out(task.config, dataset, runtime)
            weights = self._prepared.initial_weights
            parts = assemble.assemble(task.config, dataset, runtime, workdir, examples_dir, weights)
            parts = dataclasses.replace(
                parts, timeline=task.timeline, profile=profile, trackers=trackers
            )
            self._trained = Trained(parts.computation.program)
            if architecture := parts.computation.architecture:
                model_identity.agree(runtime, architecture)
                if workdir:
                    model_identity.record(workdir, architecture)
            with step_faults.named(task.config):
                result = loop.train(parts, task.stop, watch)
        if workdir and result.finished:
            seconds = time.monotonic() - began
            task.timeline.flush()
            spent = goodput.of_task(timeline.path_of(workdir.path, task.cluster.task))
            summary.write(workdir, task.config, dataset, runtime, result, seconds, spent)
        self._trained.result = result
        if workdir:
            workdir.flush()
        if not result.finished:
            logging.warning("stopped at step %d; run the same command again to resume", result.step)
            return EXIT_RESUME
        return EXIT_DONE
