"""What do real runs of a config give? They are runs of `python -m trainer`, each in its own process.

`accuracy_of` trains with N logical replicas, which one process carries: the weights are those of N
workers. `window_s` trains through parameter servers.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from strategies.errors import Resumable
from trainer.config import load, schema
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.config.sync_schema import FederatedConfig, SyncConfig
from trainer.estimate.cost_model import Variant

_WINDOWS = 40  # In the run that measures one.
_OF_DYNAMIC = ("min_steps", "max_steps", "max_spread")


def with_replicas(
    config: ExperimentConfig, variant: Variant, number: int, grows: bool
) -> ExperimentConfig:
    """The config in a variant's mode, with N logical replicas, or N clients in a round.

    `grows`: whether the global batch is N times that of the config. Raises ConfigError.
    """
    data, privacy, sync = config.data, config.privacy, config.sync
    federated = FederatedConfig()
    if variant.mode == "federated":
        federated = dataclasses.replace(config.federated, clients_per_round=number)
    elif sync.mode == "federated":
        privacy = type(privacy)()
    elif grows:
        data = dataclasses.replace(data, global_batch_size=number * data.global_batch_size)
    if variant.mode == "gradients":
        sync = SyncConfig(mode="gradients")
    elif variant.mode != "federated":
        left_out = {} if variant.mode == "dynamic" else _defaults(_OF_DYNAMIC)
        sync = dataclasses.replace(
            sync, mode=variant.mode, replicas=number, compression=variant.compression, **left_out
        )
        if data.partition != "none":  # Each replica trains on one share.
            data = dataclasses.replace(data, partitions=number)
    changed = dataclasses.replace(
        config, data=data, privacy=privacy, sync=sync, federated=federated
    )
    return load.override(changed, {})


def accuracy_of(config: ExperimentConfig, workdir: pathlib.Path) -> dict[str, float]:
    """The test metrics of a run, which resumes in its folder. Raises ConfigError, Resumable."""
    summary = workdir / "summary.json"
    with tempfile.TemporaryDirectory() as folder:
        _run(["train", *_flags(config, folder), f"--workdir={workdir}"])
    found = json.loads(summary.read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name.startswith("test_")}


def window_s(config: ExperimentConfig, steps: int, servers: int) -> float:
    """Seconds of a window of `steps` steps, of one worker. Raises ConfigError, Resumable."""
    sync = SyncConfig(mode="async_window", window_steps=steps)
    train = dataclasses.replace(
        config.train, steps=_WINDOWS * steps, eval_every_epochs=0, checkpoint_every_steps=10**9
    )
    config = dataclasses.replace(config, sync=sync, train=train)
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder, "run")
        flags = [*_flags(config, folder), f"--workdir={workdir}"]
        _run(["launch", "--workers=1", f"--ps={servers}", "--", *flags])
        summary = json.loads((workdir / "summary.json").read_text(encoding="utf-8"))
    return steps * config.data.global_batch_size / summary["examples_per_s"]


def _defaults(names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(SyncConfig(), name) for name in names}


def _flags(config: ExperimentConfig, folder: str) -> list[str]:
    path = pathlib.Path(folder, "config.json")
    path.write_text(schema.to_json(config), encoding="utf-8")
    return [f"--config={path}"]


def _run(args: Sequence[str]) -> None:
    """Raises ConfigError with the run's last line if its input is bad, and Resumable if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        error = ConfigError if done.returncode == ConfigError.exit_code else Resumable
        raise error(f"a run that `plan` needs ended with {done.returncode}: {last}")
