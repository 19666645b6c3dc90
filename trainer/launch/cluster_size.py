"""With how many workers can this config run?

With any number that leaves a block of the batch for each replica, where they add blocks in any runs; else
with one among which the global batch divides evenly, and the reduction blocks, if the config has any.
"""

from collections.abc import Sequence

from strategies.choose import transport_of
from strategies.cluster import mesh_shape
from strategies.errors import ClusterError, InputError
from trainer.cli import parser as cli_parser
from trainer.cli.options import LaunchOptions
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.training import batch_split
from trainer.training.batch_split import Replicas


def largest_below(
    options: LaunchOptions, trainer_args: Sequence[str], workers: int, on_cpus: bool = True
) -> int:
    """The largest number of workers, below `workers`, that can share the global batch.

    Raises:
      InputError: there is none from `--min_workers` on. Its message gives the reason.
    """
    command = cli_parser.parse_trainer_args(trainer_args)
    config = config_load.resolve(command.config, command.overrides)
    devices = command.devices or options.devices_per_worker
    reason = ""
    direct = transport_of(command.transport, on_cpus) == "direct"
    for fewer in range(workers - 1, options.min_workers - 1, -1):
        tasks = fewer + bool(options.chief)
        replicas = tasks * devices
        # A single task has no transport: its devices are the CPU or GPUs of one process.
        any_runs = direct if tasks > 1 else on_cpus or devices == 1
        try:
            if command.mesh and tasks > 1:
                replicas = tasks = mesh_shape.parse(command.mesh, tasks).data
            batch_split.check_batch(config, Replicas(replicas, tasks, any_runs, on_cpus))
        except (ClusterError, ConfigError) as error:
            reason = reason or f" that can share the batch: {error}"
        else:
            return fewer
    raise InputError(
        f"--min_workers={options.min_workers} leaves no number of workers below {workers}{reason}"
    )
