"""What ends a run on purpose, and with which exit code?

The errors here carry a message for the user: one line that names the field, the value received and how
to fix it. Any other exception is a fault of the program, and is shown with its traceback.
"""

from typing import Any

EXIT_DONE = 0
EXIT_FAULT = 1
EXIT_BAD_INPUT = 2
EXIT_RESUME = 75  # EX_TEMPFAIL: run the same command again to resume.


class InputError(ValueError):
    """Flags, config, TF_CONFIG, data or workdir are wrong; the same command would fail again."""

    exit_code = EXIT_BAD_INPUT


class ClusterError(InputError):
    """TF_CONFIG, or a flag about the cluster, describes a cluster that cannot run."""


class Resumable(RuntimeError):
    """The run stopped through no fault of its input: preempted, a peer lost, a deadline passed.

    `task` is the `Task` that was lost or is missing, for the supervisor; None where there is none.
    """

    exit_code = EXIT_RESUME

    def __init__(self, message: str, task: Any = None):
        super().__init__(message)
        self.task = task


def os_reason(error: OSError) -> str:
    """The system's words for an error, or its own text where it has no error number."""
    return error.strerror or str(error)
