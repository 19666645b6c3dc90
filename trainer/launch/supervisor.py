"""What happens when a task of a cluster ends, and when somebody asks all of them to?

Threads read and wait (`child_process.py`); the supervisor alone decides, one event after another. It is
always in one phase:

    RUNNING → the leader ended well → FINISHING → over
    RUNNING → a task was lost → PARTING (the others notice, and end) → PAUSED → RUNNING
    any of them → a signal, bad input, no restart left → STOPPING → over

A worker with parameter servers, and an evaluator, is started again alone, and the phase stays.
"""

import enum
import functools
import queue
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from strategies.cluster.spec import Task
from strategies.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_RESUME, InputError
from trainer.cli.options import LaunchOptions
from trainer.launch.child_process import ERROR_MARK, Command, Process, TaskOutput
from trainer.launch.restarts import RestartBudget, WorkerRoster
from trainer.process import console
from trainer.storage import locate
from trainer.storage.workdir import saved_steps

_EVALUATOR_S = 120.0  # It may still have checkpoints to look at when the leader ends.
_NOTICE_S = 5.0  # Who lost a peer ends by itself, and says so; who has met none yet cannot notice.
_SETTLED_S = 60.0  # A task started alone that lives so long got on.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KILLED = (-signal.SIGTERM, -signal.SIGKILL)

Form = Callable[[Sequence[int]], Mapping[Task, Command]]


class _Phase(enum.Enum):
    RUNNING = "the cluster trains"
    PARTING = "what is left of the cluster ends, so that another can be formed"
    PAUSED = "no cluster, until the next is formed"
    FINISHING = "the leader ended well, and the others leave"
    STOPPING = "everything is made to end"


class Supervisor:
    """Keeps a cluster going, from its first start to its end.

    Args:
      options: how often, and with how many workers.
      tasks: of the whole cluster, its leader first.
      form: the command of each task of a cluster of some workers, known by their places among all.
      smaller: the most workers, fewer than so many, with which the run can go on. Or it raises
        InputError, which says why there is no such number.
      workdir: where the run's checkpoints tell of its progress.
      hint: what a person adds to the command line to go on.
    """

    def __init__(
        self,
        options: LaunchOptions,
        tasks: Sequence[Task],
        form: Form,
        smaller: Callable[[int], int],
        workdir: str,
        hint: str,
    ):
        self._options = options
        self._leader = tasks[0]
        self._command_each = form
        self._smaller = smaller
        self._checkpoints = locate.open_workdir(workdir).checkpoints
        self._hint = hint
        self._screen = TaskOutput(tasks)
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # A signal handler may put into it.
        self._alarms: dict[str | Task, tuple[float, Callable[[], None]]] = {}
        self._phase = _Phase.PAUSED
        self._when_parted = self._go_on
        self._budget = RestartBudget(options.max_restarts)
        self._roster = WorkerRoster(options.workers, options.rejoin_after_s)
        self._step = -1  # Of the newest checkpoint when the cluster was formed.
        self._commands: Mapping[Task, Command] = {}
        self._running: dict[Task, Process] = {}
        self._lost: dict[Task, Process] = {}  # Of this cluster, the last of each task.
        self._failures: list[Process] = []  # Of this cluster, in the order of their ends.
        self._lone: dict[Task, RestartBudget] = {}  # Of the tasks that were started again alone.
        self._given_up: list[Process] = []
        self._is_done = False
        self._signal: signal.Signals | None = None
        self._codes: set[int] = set()  # Of the ends since the signal.

    def supervise(self) -> int:
        """The exit code, after every task has ended and its output is shown."""
        before = {number: signal.signal(number, self._note_signal) for number in _SIGNALS}
        try:
            self._form()
            while not self._is_over():
                self._handle(self._next_event())
                self._ring()
            return self._conclude()
        finally:
            self._kill()  # There is something to kill only if this is left by an exception.
            for number, handler in before.items():
                signal.signal(number, handler)

    def _is_over(self) -> bool:
        is_last = self._phase in (_Phase.FINISHING, _Phase.STOPPING)
        return is_last and not self._running and not any(self._due_alone())

    # What happens, and when.

    def _note_signal(self, number: int, _frame: object) -> None:
        self._events.put(signal.Signals(number))

    def _next_event(self) -> signal.Signals | Process | None:
        """None if an alarm comes first."""
        next_at = min((at for at, _ in self._alarms.values()), default=None)
        timeout_s = None if next_at is None else max(0.0, next_at - time.monotonic())
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _handle(self, event: signal.Signals | Process | None) -> None:
        if isinstance(event, signal.Signals):
            self._interrupt(event)
        elif event:
            self._note_end(event)

    def _set_alarm(self, name: str | Task, delay_s: float, act: Callable[[], None]) -> None:
        self._alarms[name] = time.monotonic() + delay_s, act

    def _ring(self) -> None:
        now = time.monotonic()
        for name in [name for name, (at, _) in self._alarms.items() if at <= now]:
            if name in self._alarms:  # An earlier one may have begun another phase.
                _, act = self._alarms.pop(name)
                act()

    def _due_alone(self) -> Iterator[Task]:
        return (name for name in self._alarms if isinstance(name, Task))

    def _enter(self, phase: _Phase) -> None:
        """What was due in the phase before no longer is. But an evaluator belongs to no cluster."""
        self._phase = phase
        stays = [task for task in self._due_alone() if task.type == "evaluator"]
        if phase is _Phase.STOPPING:
            stays = []
        self._alarms = {task: self._alarms[task] for task in stays}

    def _interrupt(self, number: signal.Signals) -> None:
        if self._signal:
            self._kill()
            return
        self._signal = number
        console.print_line(f"launch: {number.name}, stopping; once more to kill")
        self._stop()

    def _note_end(self, process: Process) -> None:
        del self._running[process.task]
        if self._signal:
            self._codes.add(process.code)
        if process.task == self._leader and process.code == EXIT_DONE:
            self._is_done = True
        if self._phase is _Phase.STOPPING:
            self._note_stopped(process)
        elif process.code != EXIT_DONE:
            self._note_failure(process)
        elif process.task == self._leader:
            self._finish()
        if self._phase is _Phase.PARTING and not any(self._cluster()):
            self._when_parted()

    def _note_stopped(self, process: Process) -> None:
        # Once the leader has ended, what another would have gone on with is over.
        asked_for = (*_KILLED, EXIT_DONE, *([EXIT_RESUME] if self._is_done else []))
        if process.code not in asked_for:
            self._failures.append(process)

    def _note_failure(self, process: Process) -> None:
        task, is_running = process.task, self._phase is _Phase.RUNNING
        self._lost[task] = process
        if not self._options.max_restarts and self._phase is not _Phase.FINISHING:
            self._fail(process)
        elif task.type == "evaluator":
            self._start_again_alone(process)
        elif self._phase is _Phase.FINISHING:
            if not _is_loss(process):
                self._failures.append(process)
        elif process.code == EXIT_BAD_INPUT:
            self._fail(process)
        elif is_running and task.type == "worker" and self._options.ps:
            self._start_again_alone(process)
        else:
            if not (process.was_asked and process.code in (*_KILLED, EXIT_RESUME)):
                self._failures.append(process)
            if is_running:
                self._part(_NOTICE_S, self._go_on)

    # From one cluster to the next.

    def _form(self) -> None:
        """Starts a cluster's tasks, and with the first of all the evaluator."""
        is_first = not self._commands
        if not self._roster.is_whole and not self._roster.left_s:
            self._roster.restore_all()
            console.print_line(
                f"launch: going on with all {self._options.workers} workers, {self._whence()}"
            )
        self._enter(_Phase.RUNNING)
        self._step = self._newest_step()
        self._failures.clear()
        self._lost.clear()
        self._lone = {task: each for task, each in self._lone.items() if task.type == "evaluator"}
        self._commands = self._command_each(self._roster.present)
        for task in self._commands:
            if task.type != "evaluator" or is_first:
                self._start(task)
        if not self._roster.is_whole:
            self._set_alarm("grow", self._roster.left_s, self._grow)

    def _start(self, task: Task) -> None:
        self._running[task] = Process(task, self._commands[task], self._screen, self._events)

    def _part(self, ask_after_s: float, when_parted: Callable[[], None]) -> None:
        self._enter(_Phase.PARTING)
        self._when_parted = when_parted
        self._set_alarm("ask", min(ask_after_s, self._options.grace_s), self._ask_rest)

    def _ask_rest(self) -> None:
        lost = {_named(process) for process in self._failures}
        for process in self._cluster():
            if process.task in lost:  # It hangs, and those it could save something with are gone.
                process.kill()
            else:
                process.ask_to_stop()
        self._set_alarm("kill", self._options.grace_s, self._kill_rest)

    def _kill_rest(self) -> None:
        for process in self._cluster():
            process.kill()

    def _cluster(self) -> Iterator[Process]:
        return (process for task, process in self._running.items() if task.type != "evaluator")

    def _go_on(self) -> None:
        """Of a cluster that was lost nothing runs any more: another is formed, or it was the last."""
        process, blamed = self._culprit()
        if self._newest_step() > self._step:
            self._budget.renew()
            self._roster.note_progress()
        if self._leave_out(blamed):
            self._budget.renew()
        elif self._budget.spend():
            console.print_line(
                f"launch: {_end(process)}; {self._restart(self._budget)}: every task starts again, "
                f"{self._whence()}"
            )
        else:
            console.print_line(
                f"launch: no restart of {self._options.max_restarts} is left, and since the last no "
                f"new checkpoint came; {self._whence()}"
            )
            self._stop()
            return
        self._enter(_Phase.PAUSED)
        self._set_alarm("form", self._budget.pause_s, self._form)

    def _leave_out(self, task: Task) -> bool:
        """True if the next cluster is a smaller one, as this task keeps failing in this one."""
        if not self._options.min_workers:
            return False
        present = self._roster.present
        worker = present[task.index] if task.type == "worker" else None
        if not self._roster.stays_away(worker):
            return False
        try:
            fewer = self._smaller(len(present))
        except InputError as error:
            console.print_line(
                f"launch: {task} stays away, and there is no going on without it: {error}"
            )
            return False
        wait_s = self._roster.leave_out(worker, fewer)
        console.print_line(
            f"launch: {task} stays away; going on with {fewer} of {self._options.workers} workers, "
            f"{self._whence()}; all are tried again in {wait_s:g} s"
        )
        return True

    def _grow(self) -> None:
        console.print_line(
            "launch: the smaller cluster is asked to stop, so that all workers can be tried again"
        )
        self._part(0.0, self._form)

    def _culprit(self) -> tuple[Process, Task]:
        """The first that failed, and the task to blame: one that ends with 75 may name another."""
        failures = self._failures or self._given_up
        faults = [process for process in failures if process.code != EXIT_RESUME]
        process = (faults or failures)[0]
        named = _named(process)
        if faults or named not in self._commands:
            return process, process.task
        return self._lost.get(named, process), named

    def _restart(self, budget: RestartBudget) -> str:
        return f"restart {budget.spent} of {budget.max_restarts} in {budget.pause_s:g} s"

    def _newest_step(self) -> int:
        return max(saved_steps(self._checkpoints), default=-1)

    def _whence(self) -> str:
        step = self._newest_step()
        return "from the beginning" if step < 0 else f"from the checkpoint of step {step}"

    # One task alone.

    def _start_again_alone(self, process: Process) -> None:
        task = process.task
        budget = self._lone.setdefault(task, RestartBudget(self._options.max_restarts))
        if process.lived_s > _SETTLED_S:
            budget.renew()
        if process.code != EXIT_BAD_INPUT and budget.spend():
            console.print_line(
                f"launch: {_end(process)}; {self._restart(budget)}: it starts again alone"
            )
            self._set_alarm(task, budget.pause_s, functools.partial(self._start, task))
        elif task.type == "evaluator" or any(self._living("worker")):
            console.print_line(
                f"launch: {_end(process)}; it is given up, and the others go on without it"
            )
            if task.type == "evaluator":
                self._given_up.append(process)
        else:
            self._fail(process)

    def _living(self, job: str) -> Iterator[Task]:
        return (task for task in (*self._running, *self._due_alone()) if task.type == job)

    # The end.

    def _finish(self) -> None:
        """The run is complete, so whoever is lost now is no loss."""
        self._enter(_Phase.FINISHING)
        self._failures = [process for process in self._failures if not _is_loss(process)]
        for task, process in self._running.items():
            if task in self._lone and task.type == "worker":
                process.ask_to_stop()  # It may still wait to be let in.
        leave_s = _EVALUATOR_S if any(self._living("evaluator")) else self._options.grace_s
        self._set_alarm("stop", leave_s, self._stop)

    def _fail(self, process: Process) -> None:
        self._failures.append(process)
        self._stop()

    def _stop(self) -> None:
        if self._phase is _Phase.STOPPING:
            return
        self._enter(_Phase.STOPPING)
        for process in self._running.values():
            process.ask_to_stop()
        self._set_alarm("kill", self._options.grace_s, self._kill)

    def _kill(self) -> None:
        for process in self._running.values():
            process.kill()

    def _conclude(self) -> int:
        console.flush()
        if self._signal:
            return self._conclude_interrupted(self._signal)
        if not self._failures and not self._given_up:
            return EXIT_DONE
        process, _ = self._culprit()
        if process.code == EXIT_RESUME and self._hint:
            console.print_line(f"launch: to go on, run the same command with {self._hint}")
        last = process.last_line.removeprefix(ERROR_MARK)
        console.print_line(
            f"launch: {_end(process)}: {last}" if last else f"launch: {_end(process)}"
        )
        return process.code if process.code > 0 else 128 - process.code

    def _conclude_interrupted(self, number: signal.Signals) -> int:
        if self._is_done and self._codes == {EXIT_DONE}:
            return EXIT_DONE
        can_go_on = self._codes <= {EXIT_DONE, EXIT_RESUME, -signal.SIGTERM}
        if can_go_on and (EXIT_RESUME in self._codes or not self._codes):
            more = f" with {self._hint}" if self._hint else ""
            console.print_line(
                f"launch: stopped by {number.name}; run the same command{more} to go on"
            )
            return EXIT_RESUME
        console.print_line(f"launch: stopped by {number.name}")
        return 128 + number


def _is_loss(process: Process) -> bool:
    """True for an end with 75 and a death by a signal, which a task's own guard may pass on."""
    return process.code < 0 or process.code == EXIT_RESUME or process.code > 128


def _named(process: Process) -> Task | None:
    """The task that its last words say is missing or was lost."""
    match = re.match(f"{ERROR_MARK}(chief|worker|ps) ([0-9]+)", process.last_line)
    return Task(match[1], int(match[2])) if match else None


def _end(process: Process) -> str:
    """How it ended, as in "worker 1 was killed by SIGKILL"."""
    number = -process.code if process.code < 0 else process.code - 128
    if number in [*signal.Signals]:
        return f"{process.task} was killed by {signal.Signals(number).name}"
    return f"{process.task} failed with exit code {process.code}"
