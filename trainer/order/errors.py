"""How does the order refuse data? With a `PartitionError`: one line that says how to fix the config."""

from strategies.errors import InputError


class PartitionError(InputError):
    """The data cannot be divided as the config says."""
