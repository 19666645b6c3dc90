"""What makes no sense with `ps.sparse_embeddings`, and why?

`REFUSED` has the rows for the table in `combinations.py`. The model and its optimizer are checked once
they are made: `trainer/training/sparse_embeddings.py`.
"""

from strategies.sync.names import ON_SERVERS
from trainer.config.refusal import Refusal, mode_not_in, only

_FALSE = ("ps.sparse_embeddings", "false", only(False))
_LEAVE_OUT = "leave it out"

REFUSED: tuple[Refusal, ...] = (
    Refusal(
        *_FALSE,
        mode_not_in("auto", *ON_SERVERS),
        "with `sync.mode` {sync.mode}",
        "only parameter servers hold rows that a worker does not",
        _LEAVE_OUT,
    ),
    Refusal(
        *_FALSE,
        lambda flat: flat["privacy.clip_norm"] > 0,
        "with `privacy.clip_norm`",
        "noise changes every row in each step",
        _LEAVE_OUT,
    ),
)
