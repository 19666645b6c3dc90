"""What is started? `Program`: a Python module with arguments, an environment, a folder and limits."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a process may use of the machine.

    Attributes:
      cores: numbers of CPU cores; None: those of its starter.
      oom_score_adj: how much rather than others the kernel kills it when memory runs out, from 0 to
        1000; None: like its starter.
    """

    cores: Sequence[int] | None = None
    oom_score_adj: int | None = None

    def apply(self) -> None:
        """Limits this process. Call it before there are threads, as a thread inherits its cores."""
        if self.cores is not None:
            os.sched_setaffinity(0, self.cores)
        if self.oom_score_adj is not None:
            with (
                contextlib.suppress(PermissionError),
                open("/proc/self/oom_score_adj", "w") as file,
            ):
                file.write(str(self.oom_score_adj))


@dataclasses.dataclass(frozen=True)
class Program:
    """One start of `python -m module args`.

    Attributes:
      module: what runs as `__main__`.
      args: its arguments.
      environ: its whole environment.
      label: what `ps` shows after the command where several processes have the same one.
      folder: where it runs; "": where its starter runs.
      limits: what it may use of the machine.
    """

    module: str
    args: Sequence[str]
    environ: Mapping[str, str]
    label: str = ""
    folder: str = ""
    limits: Limits = Limits()

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Program":
        """Raises ValueError where the text is cut off."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {"limits": Limits(**values["limits"])})
