"""What does `python -m trainer train` do? It runs this process's task of the cluster to its end."""

import dataclasses
import os

from absl import logging

from strategies import choose
from strategies.cluster.spec import ClusterSpec
from strategies.devices import for_strategy
from strategies.network import security
from trainer.cli.options import TrainOptions
from trainer.config import load as config_load
from trainer.metrics.timeline import Timeline
from trainer.process import shaped_link
from trainer.process.guardian import Guardian
from trainer.process.signals import StopRequest
from trainer.task import run as task_run
from trainer.task.context import TaskContext
from trainer.training import batch_split


def run(options: TrainOptions, cluster: ClusterSpec, guardian: Guardian) -> int:
    """Returns the exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    timeline, stop = Timeline.of_this_process(), StopRequest()
    secured = security.find(options.security_flags)
    config = config_load.resolve(options.config, options.overrides)
    choice = choose.choose(
        cluster, options.strategy, options.tpu, choose.tpu_from_env(), options.startup_timeout_s
    )
    logging.info("%s | strategy %s: %s", cluster, choice.strategy, choice.reason)
    # Vectors in shared memory would not cross the link.
    choice = dataclasses.replace(choice, shares_memory=not shaped_link.is_entered(os.environ))
    choice = batch_split.with_agreement(config, choice)
    cache = for_strategy.compile_cache(options.compile_cache, choice).turn_on()
    task = TaskContext(options, config, cluster, choice, cache, secured, stop, guardian, timeline)
    return task_run.run_evaluator(task) if cluster.is_evaluator else task_run.run_member(task)
