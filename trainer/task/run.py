"""How does one task go from its flags to its exit code? It prepares, meets its peers, and trains.

An evaluator does not train, so it meets nobody.
"""

from absl import logging

from strategies.errors import EXIT_DONE, Resumable
from strategies.rendezvous import roll_call
from strategies.rendezvous.membership import Membership
from trainer.config.fields import ConfigError
from trainer.storage import locate
from trainer.task import already_finished, prepare
from trainer.task.context import TaskContext
from trainer.task.session import Session


def run_member(task: TaskContext) -> int:
    """Runs a worker, a chief or a parameter server; returns its exit code."""
    with prepare.own_workdir(task) as workdir:
        prepared = prepare.prepare(task)
        if not task.cluster.is_single_task:
            logging.info("peers | %s", task.security.describe(prepared.choice.starts_servers))
        membership = _meet_peers(task, prepared.fingerprint)
        if not membership:
            return EXIT_DONE
        with membership, task.compile_cache.in_use(repr(task.config.model)):
            return Session(task, prepared, membership, workdir).run()


def _meet_peers(task: TaskContext, fingerprint: dict) -> Membership | None:
    """None where some peers are missing because the run has already finished."""
    path, timeout_s = task.options.workdir, task.options.startup_timeout_s
    timeout_s = already_finished.meet_timeout_s(timeout_s, path, task.config, task.cluster)
    try:
        return roll_call.meet(task.cluster, fingerprint, timeout_s, task.security)
    except Resumable:
        if not already_finished.is_finished(path, task.config):
            raise
        logging.info("done | the run in %s has already finished; nothing to do", path)
        return None


def run_evaluator(task: TaskContext) -> int:
    """Runs an evaluator; returns its exit code."""
    if not task.options.workdir:
        raise ConfigError(
            "`--workdir` must name the folder in which the trainers save, for an evaluator. "
            "Received: none; give every task the same --workdir."
        )
    from trainer.task import evaluator

    with locate.open_workdir(task.options.workdir).open_readonly() as workdir:
        return evaluator.run_evaluator(task, workdir)
