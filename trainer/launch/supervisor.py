"""What does `launch` do when a task ends, and when it is asked to stop?

`Supervisor` handles one event after another (`event_loop.py`), and is always in one phase:

    RUNNING → the leader ended with 0 → FINISHING → over
    RUNNING → a task failed → DRAINING (the other tasks notice, and end) → PAUSED → RUNNING
    any phase → a signal, bad input, no restart left → STOPPING → over

A worker with parameter servers, and an evaluator, restarts alone, and the phase does not change.
"""

import enum
import functools
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

from strategies.cluster.spec import Task
from strategies.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_RESUME
from trainer.cli.options import LaunchOptions
from trainer.launch.child_process import Process, TaskOutput
from trainer.launch.event_loop import EventLoop
from trainer.launch.exit_report import ExitReport, describe_end, end_event, is_loss
from trainer.launch.restart_policy import RestartPolicy
from trainer.launch.restarts import RestartBudget
from trainer.process import console, event_stream
from trainer.process.start.program import Program
from trainer.process.start.starter import Starter

_EVALUATOR_S = 120.0  # It may still have checkpoints to evaluate when the leader ends.
# A task that lost a peer reports it and ends; one that has not met its peers cannot.
_NOTICE_S = 5.0
_SETTLED_S = 60.0  # A task that restarted alone and lived this long has made progress.
_KILLED = (-signal.SIGTERM, -signal.SIGKILL)

ProgramsFor = Callable[[Sequence[int]], Mapping[Task, Program]]


class _Phase(enum.Enum):
    RUNNING = "the cluster trains"
    DRAINING = "the rest of the cluster ends, so that the next can start"
    PAUSED = "no cluster runs until the next starts"
    FINISHING = "the leader ended with 0, and the other tasks leave"
    STOPPING = "every task is made to end"


class Supervisor:
    """Keeps a cluster running, from its first start to its end.

    Args:
      options: the restarts of a single task, and the grace.
      tasks: of the complete cluster, its leader first.
      programs_for: what each task of a cluster of the given workers runs. The workers are known by
        their indices in the complete cluster.
      starter: starts the tasks.
      policy: whether a cluster that failed restarts, and with which workers.
      resume_flags: what a person adds to the command line to resume the run.
    """

    def __init__(
        self,
        options: LaunchOptions,
        tasks: Sequence[Task],
        programs_for: ProgramsFor,
        starter: Starter,
        policy: RestartPolicy,
        resume_flags: str,
    ):
        self._options = options
        self._leader = tasks[0]
        self._programs_for = programs_for
        self._starter = starter
        self._output = TaskOutput(tasks)
        self._loop = EventLoop(self._interrupt, self._note_end)
        self._report = ExitReport(resume_flags)
        self._policy = policy
        self._phase = _Phase.PAUSED
        self._when_drained = self._restart_cluster
        self._single_budgets: dict[Task, RestartBudget] = {}  # Of the tasks that restarted alone.
        self._programs: Mapping[Task, Program] = {}
        self._running: dict[Task, Process] = {}

    def supervise(self) -> int:
        """The exit code, after every task has ended and its output is shown."""
        with self._loop.handling_signals():
            try:
                self._start_cluster()
                self._loop.run_until(self._is_over)
                return self._report.conclude(self._programs)
            finally:
                self._kill_all()  # Tasks run here only if this is left by an exception.

    def _is_over(self) -> bool:
        is_last = self._phase in (_Phase.FINISHING, _Phase.STOPPING)
        return is_last and not self._running and not any(self._due_tasks())

    # Events.

    def _enter(self, phase: _Phase) -> None:
        """Cancels the alarms of the phase before, but not the restart of an evaluator."""
        self._phase = phase
        kept = [task for task in self._due_tasks() if task.type == "evaluator"]
        self._loop.cancel_alarms(but=kept if phase is not _Phase.STOPPING else ())

    def _due_tasks(self) -> Iterator[Task]:
        """The tasks that are about to restart alone."""
        return (name for name in self._loop.alarms if isinstance(name, Task))

    def _interrupt(self, number: signal.Signals) -> None:
        if self._report.signal:
            self._kill_all()
            return
        self._report.signal = number
        console.print_line(f"launch: {number.name}: stopping all tasks; a second signal kills them")
        self._stop()

    def _note_end(self, process: Process) -> None:
        del self._running[process.task]
        self._report.note_end(process)
        event_stream.write(end_event(process))
        if process.task == self._leader and process.code == EXIT_DONE:
            self._report.is_complete = True
        if self._phase is _Phase.STOPPING:
            self._note_stopped(process)
        elif process.code != EXIT_DONE:
            self._note_failure(process)
        elif process.task == self._leader:
            self._finish()
        if self._phase is _Phase.DRAINING and not any(self._members()):
            self._when_drained()

    def _note_stopped(self, process: Process) -> None:
        # Once the leader has ended there is nothing to resume for another task.
        expected = (*_KILLED, EXIT_DONE, *([EXIT_RESUME] if self._report.is_complete else []))
        if process.code not in expected:
            self._report.failures.append(process)

    def _note_failure(self, process: Process) -> None:
        task, is_running = process.task, self._phase is _Phase.RUNNING
        self._report.note_failure(process)
        if not self._options.max_restarts and self._phase is not _Phase.FINISHING:
            self._fail(process)
        elif task.type == "evaluator":
            self._restart_single(process)
        elif self._phase is _Phase.FINISHING:
            if not is_loss(process):
                self._report.failures.append(process)
        elif process.code == EXIT_BAD_INPUT:
            self._fail(process)
        elif is_running and task.type == "worker" and self._options.ps:
            self._restart_single(process)
        else:
            if not (process.was_asked_to_stop and process.code in (*_KILLED, EXIT_RESUME)):
                self._report.failures.append(process)
            if is_running:
                self._drain(_NOTICE_S, self._restart_cluster)

    # From one cluster to the next.

    def _start_cluster(self) -> None:
        """Starts all tasks of a cluster, but the evaluator only with the first cluster."""
        is_first = not self._programs
        workers = self._policy.next_workers()
        self._enter(_Phase.RUNNING)
        self._report.start_cluster()
        self._single_budgets = {
            task: budget
            for task, budget in self._single_budgets.items()
            if task.type == "evaluator"
        }
        self._programs = self._programs_for(workers)
        for task in self._programs:
            if task.type != "evaluator" or is_first:
                self._start(task)
        if (wait_s := self._policy.complete_in_s) is not None:
            self._loop.set_alarm("grow", wait_s, self._grow)

    def _start(self, task: Task) -> None:
        event_stream.write({"event": "task", "task": str(task), "state": "running"})
        self._running[task] = Process(
            task, self._programs[task], self._starter, self._output, self._loop.put
        )

    def _drain(self, ask_after_s: float, when_drained: Callable[[], None]) -> None:
        self._enter(_Phase.DRAINING)
        self._when_drained = when_drained
        self._loop.set_alarm("ask", min(ask_after_s, self._options.grace_s), self._ask_members)

    def _ask_members(self) -> None:
        blamed = self._report.blamed_tasks()
        for process in self._members():
            if process.task in blamed:  # It hangs, and cannot save without the peers that are gone.
                process.kill()
            else:
                process.ask_to_stop()
        self._loop.set_alarm("kill", self._options.grace_s, self._kill_members)

    def _kill_members(self) -> None:
        for process in self._members():
            process.kill()

    def _members(self) -> Iterator[Process]:
        return (process for task, process in self._running.items() if task.type != "evaluator")

    def _restart_cluster(self) -> None:
        """After a failure, once no task of the cluster runs."""
        process, blamed = self._report.first_failure(self._programs)
        pause_s = self._policy.pause_before_restart(describe_end(process), blamed)
        if pause_s is None:
            self._stop()
            return
        self._enter(_Phase.PAUSED)
        self._loop.set_alarm("start", pause_s, self._start_cluster)

    def _grow(self) -> None:
        console.print_line("launch: stopping the smaller cluster to try all workers again")
        self._drain(0.0, self._start_cluster)

    # A single task.

    def _restart_single(self, process: Process) -> None:
        task = process.task
        budget = self._single_budgets.setdefault(task, RestartBudget(self._options.max_restarts))
        if process.lifetime_s > _SETTLED_S:
            budget.renew()
        if process.code != EXIT_BAD_INPUT and budget.spend():
            console.print_line(
                f"launch: {describe_end(process)}; {budget.restart}: only this task restarts"
            )
            self._loop.set_alarm(task, budget.pause_s, functools.partial(self._start, task))
        elif task.type == "evaluator" or any(self._living("worker")):
            console.print_line(
                f"launch: {describe_end(process)}; it is not restarted, and the other tasks "
                "continue without it"
            )
            if task.type == "evaluator":
                self._report.given_up.append(process)
        else:
            self._fail(process)

    def _living(self, job: str) -> Iterator[Task]:
        return (task for task in (*self._running, *self._due_tasks()) if task.type == job)

    # The end.

    def _finish(self) -> None:
        """The run is complete: a task that is lost now costs nothing."""
        self._enter(_Phase.FINISHING)
        self._report.forgive_losses()
        for task, process in self._running.items():
            if task in self._single_budgets and task.type == "worker":
                process.ask_to_stop()  # It may still be waiting for the leader's call.
        leave_s = _EVALUATOR_S if any(self._living("evaluator")) else self._options.grace_s
        self._loop.set_alarm("stop", leave_s, self._stop)

    def _fail(self, process: Process) -> None:
        self._report.failures.append(process)
        self._stop()

    def _stop(self) -> None:
        if self._phase is _Phase.STOPPING:
            return
        self._enter(_Phase.STOPPING)
        for process in self._running.values():
            process.ask_to_stop()
        self._loop.set_alarm("kill", self._options.grace_s, self._kill_all)

    def _kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
