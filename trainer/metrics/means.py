"""What are the mean loss and metric of many batches?

`means` divides their sums by the number of examples.
"""

import numpy as np

from strategies.runtime import NUM_SUMS


def means(sums: np.ndarray, metric_name: str) -> dict[str, float]:
    """The mean loss and metric of float64 [NUM_SUMS]; NaN where there were no examples."""
    assert sums.shape == (NUM_SUMS,)
    count = sums[2] or np.nan
    return {"loss": float(sums[0] / count), metric_name: float(sums[1] / count)}
