"""How does a tracker such as MLflow or Weights & Biases get a run's metrics?

By a writer that a recipe brings, and that `Trackers` calls. A tracker is not worth a run: after its first
failure, which is one warning, it is called no more.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from absl import logging


class MetricWriter(Protocol):
    """What a recipe's `get_writer(config, workdir)` returns.

    It is called by the task that writes, in the thread that trains: between two loop calls, not in one.
    After a restart steps are reported again, from the one at which the run resumed, with the same values.
    """

    def write(self, event: str, step: int, values: Mapping[str, float]) -> None:
        """`event`: train, validation or eval (the test split); `values`: its metrics after `step`."""

    def close(self) -> None:
        """The run ends here: it has finished, or failed, or will resume in another process."""


class Trackers:
    """The recipe's writer, or none."""

    def __init__(self, writer: MetricWriter | None = None):
        self._writer = writer

    def write(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        if self._writer:
            numbers = {name: float(value) for name, value in values.items()}
            self._call("write", event, step, numbers)

    def close(self) -> None:
        if self._writer:
            self._call("close")

    def _call(self, method: str, *args: Any) -> None:
        try:
            getattr(self._writer, method)(*args)
        except Exception as error:
            self._writer = None
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            logging.warning("`get_writer`'s writer gets no more metrics, as it failed: %s", reason)
