"""With how many workers can this config run?

With a number of replicas among which the global batch divides evenly, and the reduction blocks too, if
the config has any.
"""

from collections.abc import Sequence

from strategies.errors import InputError
from trainer.cli import parser as cli_parser
from trainer.cli.options import LaunchOptions
from trainer.config import load as config_load
from trainer.model import reduction_blocks


def largest_below(options: LaunchOptions, trainer_args: Sequence[str], workers: int) -> int:
    """The largest number of workers, below `workers`, among which the global batch divides evenly.

    Raises:
      InputError: there is none from `--min_workers` on. Its message gives the reason.
    """
    command = cli_parser.parse_trainer_args(trainer_args)
    config = config_load.resolve(command.config, command.overrides)
    batch, wanted = config.data.global_batch_size, config.train.reduction_blocks
    devices = command.devices or options.devices_per_worker
    for fewer in range(workers - 1, options.min_workers - 1, -1):
        replicas = (fewer + bool(options.chief)) * devices
        if batch % replicas == 0 and (not wanted or reduction_blocks.fits(wanted, replicas)):
            return fewer
    in_blocks = f", nor train.reduction_blocks={wanted}" if wanted else ""
    raise InputError(
        f"--min_workers={options.min_workers} leaves no number of workers below {workers} among "
        f"which data.global_batch_size={batch} divides evenly{in_blocks}"
    )
