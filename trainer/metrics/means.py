"""What do sums over batches say as means?"""

import numpy as np

from strategies.runtime import NUM_SUMS


def means(sums: np.ndarray, metric_name: str) -> dict[str, float]:
    """The mean loss and metric of float64 [NUM_SUMS]; nan where there were no examples."""
    assert sums.shape == (NUM_SUMS,)
    count = sums[2] or np.nan
    return {"loss": float(sums[0] / count), metric_name: float(sums[1] / count)}
