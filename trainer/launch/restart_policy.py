"""After a failure: does the cluster restart, with which workers, and after which pause?

`RestartPolicy` restarts all tasks as long as restarts are left. A new checkpoint renews the restarts, and
so does dropping a worker that keeps failing.
"""

import contextlib
from collections.abc import Callable

from strategies.cluster.spec import Task
from strategies.errors import InputError
from trainer.cli.options import LaunchOptions
from trainer.launch.restarts import RestartBudget, WorkerRoster
from trainer.process import console
from trainer.storage import locate
from trainer.storage.workdir import saved_steps


class RestartPolicy:
    """The restarts and the workers of one run. Every decision is printed.

    Args:
      options: the restarts and the smallest number of workers.
      fewer_workers: the largest number of workers, below the given one, with which the run can
        continue. Raises InputError, with the reason, where there is no such number.
      workdir: of the run. Its checkpoints show whether the run makes progress.
    """

    def __init__(self, options: LaunchOptions, fewer_workers: Callable[[int], int], workdir: str):
        self._options = options
        self._fewer_workers = fewer_workers
        self._checkpoints = locate.open_workdir(workdir).checkpoints
        self._budget = RestartBudget(options.max_restarts)
        self._roster = WorkerRoster(options.workers, options.rejoin_after_s)
        self._step_at_start = -1  # Of the newest checkpoint when the cluster was started.

    @property
    def complete_in_s(self) -> float | None:
        """Seconds until all workers are tried again; None if the cluster is complete."""
        return None if self._roster.is_complete else self._roster.rejoin_in_s

    def next_workers(self) -> tuple[int, ...]:
        """The workers of the cluster that starts now, by their indices in the complete one."""
        if self.complete_in_s == 0:
            self._roster.restore_all()
            console.print_line(
                f"launch: continuing with all {self._options.workers} workers {self._start_point()}"
            )
        self._step_at_start = self._newest_step()
        return self._roster.present

    def pause_before_restart(self, failure: str, blamed: Task) -> float | None:
        """Seconds until the next cluster starts; None if the run is to stop.

        Args:
          failure: how the cluster ended, as in "worker 1 was killed by SIGKILL".
          blamed: the task that is the first to fail in this cluster.
        """
        if self._newest_step() > self._step_at_start:
            self._budget.renew()
            self._roster.note_progress()
        if self._drop(blamed):
            self._budget.renew()
            return self._budget.pause_s
        if self._budget.spend():
            console.print_line(
                f"launch: {failure}; {self._budget.restart}: all tasks restart {self._start_point()}"
            )
            return self._budget.pause_s
        step = self._newest_step()
        console.print_line(
            f"launch: no new checkpoint after --max_restarts={self._options.max_restarts} restarts; "
            f"stopping (newest checkpoint: {f'step {step}' if step >= 0 else 'none'})"
        )
        return None

    def _drop(self, task: Task) -> bool:
        """True if the next cluster is smaller, as this task keeps failing and is dropped."""
        if not self._options.min_workers:
            return False
        present = self._roster.present
        worker = present[task.index] if task.type == "worker" else None
        if not self._roster.keeps_failing(worker) or worker is None:
            return False
        try:
            fewer = self._fewer_workers(len(present))
        except InputError as error:
            console.print_line(
                f"launch: {task} keeps failing, and the run cannot continue without it: {error}"
            )
            return False
        wait_s = self._roster.drop(worker, fewer)
        console.print_line(
            f"launch: {task} keeps failing; continuing with {fewer} of {self._options.workers} "
            f"workers {self._start_point()}; all workers are tried again in {wait_s:g} s"
        )
        return True

    def _newest_step(self) -> int:
        with contextlib.suppress(InputError):  # The tasks report what cannot be read.
            return max(saved_steps(self._checkpoints), default=-1)
        return -1

    def _start_point(self) -> str:
        step = self._newest_step()
        return "from the beginning" if step < 0 else f"from the checkpoint of step {step}"
