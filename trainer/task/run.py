"""How does one task go from its flags to its exit code? It prepares, meets its peers, and trains.

An evaluator does not train, so it meets nobody.
"""

import contextlib
import gc
from collections.abc import Iterator

from strategies.errors import EXIT_DONE, InputError, Resumable
from strategies.rendezvous import roll_call
from strategies.rendezvous.membership import Membership
from trainer.process import report
from trainer.storage import locate
from trainer.task import already_finished, prepare, rules
from trainer.task.context import TaskContext
from trainer.task.session import Session

_TELL_PEERS_S = 3.0  # Those that were started together wait by then, unless they load much data.


def run_member(task: TaskContext) -> int:
    """Runs a worker, a chief or a parameter server; returns its exit code."""
    with contextlib.ExitStack() as stack:
        with _telling_peers(task):
            workdir = stack.enter_context(prepare.own_workdir(task))
            prepared = prepare.prepare(task, workdir)
            if not task.cluster.is_single_task:
                report.common("peers | %s", task.security.describe(prepared.choice.starts_servers))
        membership = _meet_peers(task, prepared.fingerprint)
        if not membership:
            return EXIT_DONE
        gc.freeze()  # All modules stay until the end: each search for garbage in them takes 0.2 s.
        with membership, task.compile_cache.in_use(repr(task.config.model)):
            return Session(task, prepared, membership, workdir).run()


@contextlib.contextmanager
def _telling_peers(task: TaskContext) -> Iterator[None]:
    """Has the peers that wait for this task end with its reason where its own input is bad."""
    try:
        yield
    except InputError as error:
        timeout_s = min(_TELL_PEERS_S, task.options.startup_timeout_s)
        roll_call.refuse(task.cluster, error, timeout_s, task.security)
        raise


def _meet_peers(task: TaskContext, fingerprint: dict) -> Membership | None:
    """None where some peers are missing because the run has already finished."""
    path, timeout_s = task.options.workdir, task.options.startup_timeout_s
    timeout_s = already_finished.meet_timeout_s(timeout_s, path, task.config, task.cluster)
    try:
        report.progress("waiting for the other tasks")
        with task.timeline.during("wait"):
            return roll_call.meet(task.cluster, fingerprint, timeout_s, task.security)
    except Resumable:
        if not already_finished.is_finished(path, task.config):
            raise
        report.result(f"done | the run in {path} has already finished; nothing to do")
        return None


def run_evaluator(task: TaskContext) -> int:
    """Runs an evaluator; returns its exit code."""
    rules.check_evaluator(task.cluster, task.options.workdir)
    from trainer.task import evaluator

    with locate.open_workdir(task.options.workdir).open_readonly() as workdir:
        return evaluator.run_evaluator(task, workdir)
