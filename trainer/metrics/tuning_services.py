"""How does a service that searches for better values read a run's metrics? In the form that it collects.

The environment says which service started the run. Vertex AI reads a file of JSON lines, in the form of
its package cloudml-hypertune (github.com/GoogleCloudPlatform/cloudml-hypertune). Katib reads NAME=VALUE
from stdout, where its filter knows no exponents (kubeflow/katib, pkg/metricscollector). The names are
train_loss, test_loss, test_accuracy and so on.
"""

import collections
import datetime
import json
import math
import os
import pathlib
import time
from collections.abc import Mapping

import numpy as np

from strategies.errors import InputError, os_reason
from trainer.process import console
from trainer.storage.atomic_files import make_folder, write_whole

_VERTEX_TRIAL, _VERTEX_FILE = "CLOUD_ML_TRIAL_ID", "CLOUD_ML_HP_METRIC_FILE"
_VERTEX_DEFAULT = "/tmp/hypertune/output.metrics"
_VERTEX_LINES = 100  # The package keeps this number of the newest.
_KATIB_TRIAL = "KATIB_TRIAL_NAME"
_PREFIXES = {"train": "train", "eval": "test"}


class TuningServices:
    """Reports the events of a run to the services of this environment; mostly there is none."""

    def __init__(self, environ: Mapping[str, str] = os.environ):
        self._vertex_trial = environ.get(_VERTEX_TRIAL, "")
        self._vertex_file = pathlib.Path(environ.get(_VERTEX_FILE) or _VERTEX_DEFAULT)
        self._is_katib = bool(environ.get(_KATIB_TRIAL))
        self._lines: collections.deque[str] = collections.deque(maxlen=_VERTEX_LINES)

    def report(self, event: str, step: int, values: Mapping[str, float]) -> None:
        """Reports "train" or "eval" after `step`. Raises InputError where a file cannot be written."""
        prefix = _PREFIXES.get(event)
        named = {
            f"{prefix}_{name}": value for name, value in values.items() if math.isfinite(value)
        }
        if self._is_katib and prefix:
            now = datetime.datetime.now(datetime.UTC).isoformat()
            for name, value in named.items():
                console.print_outcome(f"{now} {name}={_without_exponent(value)}")
        if self._vertex_trial and prefix:
            self._write_for_vertex(step, named)

    def _write_for_vertex(self, step: int, named: Mapping[str, float]) -> None:
        common = {"timestamp": time.time(), "trial": self._vertex_trial, "checkpoint_path": ""}
        for name, value in named.items():
            line = common | {name: str(float(value)), "global_step": str(step)}
            self._lines.append(json.dumps(line, sort_keys=True) + "\n")
        try:
            make_folder(self._vertex_file.parent)
            write_whole(self._vertex_file, "".join(self._lines))
        except OSError as error:
            raise InputError(
                f"`{_VERTEX_FILE}` must name a file that can be written ({os_reason(error)}). Received: "
                f"{str(self._vertex_file)!r}; name another, or unset {_VERTEX_TRIAL}."
            ) from None


def _without_exponent(value: float) -> str:
    return np.format_float_positional(value, trim="0")
