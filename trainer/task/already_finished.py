"""Is there nothing left to do for a task that starts late? Yes, if the run's summary has all steps.

A container that fails in the last moments of a run starts again after the others have finished. Then no
peer answers its roll call. But where it sees the workdir, it can read the summary, which is written
after the last step.

The leader still waits for the others, as at any start: they may not see the workdir, and the leader
tells them to exit. So a task that is left over from a finished run exits with success, and every other
task starts as usual.
"""

from collections.abc import Mapping
from typing import Any

from strategies.cluster.spec import ClusterSpec
from strategies.errors import InputError
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.storage import locate

# Between the starts of tasks that were started together. The leader may load its data in that time.
_START_SPREAD_S = 30.0


def is_finished(path: str, config: ExperimentConfig) -> bool:
    """Whether the summary in the workdir at `path` says that this config's run has ended."""
    if not path:
        return False
    try:
        workdir = locate.open_workdir(path)
        begun, summary = workdir.read_config(), workdir.read_summary()
        if ended_early(summary, config):
            is_whole = True
        elif config.train.steps:
            is_whole = summary["steps"] >= config.train.steps
        else:
            is_whole = summary["epochs"] >= config.train.epochs
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return False  # Missing, unreadable from here, or damaged: assume that the run continues.
    differing = {*config_lib.differences(begun, config)}
    return is_whole and differing <= config_lib.trajectory_free(begun)


def ended_early(summary: Mapping[str, Any], config: ExperimentConfig) -> bool:
    """Whether the run of a summary ended before its last step, as this config still asks for."""
    fields, values = summary.get("ended_by") or {}, config_lib.flatten(config)
    return bool(fields) and all(values.get(name) == value for name, value in fields.items())


def meet_timeout_s(
    startup_timeout_s: float, path: str, config: ExperimentConfig, cluster: ClusterSpec
) -> float:
    """How long this task waits for its peers: less than usual if the run may have finished."""
    if cluster.is_leader or not is_finished(path, config):
        return startup_timeout_s
    return min(startup_timeout_s, _START_SPREAD_S)
