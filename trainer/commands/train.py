"""What does `python -m trainer train` do?"""

from absl import logging

from strategies import choose
from strategies.cluster.spec import ClusterSpec
from strategies.network import shared_secret
from trainer.cli.options import TrainOptions
from trainer.config import load as config_load
from trainer.process.guardian import Guardian
from trainer.process.signals import StopRequest
from trainer.task.run import TaskRun
from trainer.training import batch_split


def run(options: TrainOptions, cluster: ClusterSpec, guard: Guardian) -> int:
    """Runs this process's task of the cluster to its end and returns its exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    stop = StopRequest()
    key = shared_secret.read(options.secret_file)
    config = config_load.resolve(options.config, options.overrides)
    choice = choose.choose(
        cluster, options.strategy, options.tpu, choose.tpu_from_env(), options.startup_timeout_s
    )
    logging.info("%s | strategy %s: %s", cluster, choice.strategy, choice.reason)
    batch_split.check_sync_mode(config, choice)
    task = TaskRun(options, config, cluster, choice, key, stop, guard)
    return task.run_evaluator() if cluster.is_evaluator else task.run_member()
