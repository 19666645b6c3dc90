"""Is there nothing left to do for a task that starts, as its run has ended?

A container that fails in a run's last moments starts again after the others have ended, all well. Nobody
will answer its roll call. What it can know is the run's summary, where it sees the workdir: that is
written once all steps are taken.

The leader waits for the others all the same, as for any start: they may not see the workdir, and come to
be dismissed by it. So whoever is alone with a run that is over ends well, and everyone else as ever.
"""

import json

from strategies.cluster.spec import ClusterSpec
from strategies.errors import InputError
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.storage import locate

# Between the starts of tasks that were started together: the leader's data may come in between.
_TOGETHER_S = 30.0


def is_over(path: str, config: ExperimentConfig) -> bool:
    """Whether the workdir's summary tells of all the steps that this config asks for."""
    if not path:
        return False
    try:
        workdir = locate.open_workdir(path)
        begun, summary = workdir.read_config(), json.loads(workdir.summary.read_text())
        if config.train.steps:
            is_whole = summary["steps"] >= config.train.steps
        else:
            is_whole = summary["epochs"] >= config.train.epochs
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return False  # Not there, not to be read from here, or damaged: the run is taken to go on.
    differing = {*config_lib.differences(begun, config)}
    return is_whole and differing <= config_lib.TRAJECTORY_FREE


def patience_s(
    startup_timeout_s: float, path: str, config: ExperimentConfig, cluster: ClusterSpec
) -> float:
    """How long a task waits for the roll call."""
    if cluster.is_leader or not is_over(path, config):
        return startup_timeout_s
    return min(startup_timeout_s, _TOGETHER_S)
