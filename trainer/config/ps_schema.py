"""What is sent between workers and parameter servers? `PsConfig` has the fields of `ps`."""

import dataclasses

from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class PsConfig:
    """What workers pull from parameter servers, and push to them."""

    sparse_embeddings: bool = option(
        False,
        "of the tables of embeddings, a window pulls and pushes only the rows that its examples use: the "
        "same weights in fewer bytes, for an optimizer that leaves a row without a gradient as it is, "
        "which is sgd without momentum, or adagrad",
        since=2,
    )
