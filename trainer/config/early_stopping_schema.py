"""When does a run end before its last step? `EarlyStoppingConfig` has the fields of `early_stopping`."""

import dataclasses

from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class EarlyStoppingConfig:
    """When to stop because the evaluations during the run no longer improve."""

    patience: int = option(
        0, "stop after N evaluations in a row without improvement; 0: never", least=0, since=2
    )
    metric: str = option("loss", "metric of the evaluations, e.g. accuracy", since=2)
    mode: str = option(
        "auto",
        "which values are better. max: larger ones; min: smaller ones; auto: larger ones of accuracy, "
        "auc, precision, recall, f1, iou and r2, and smaller ones of all others",
        choices=("auto", "min", "max"),
        since=2,
    )
    min_delta: float = option(0.0, "the smallest change that is an improvement", least=0, since=2)
    restore_best: bool = option(
        True, "end with the weights of the best evaluation, not with the last ones", since=2
    )
