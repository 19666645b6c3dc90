"""Did a process end because the machine, or a limit of its shell, had no more of something?

`describe` says which one, and how to raise it. These errors are not faults of the program, wherever they
come up, so they end it with one line. `check` finds the limit with which TensorFlow would abort.
"""

import errno
import re
import resource

from strategies.errors import InputError, os_reason


class LimitError(InputError):
    """A limit of this process is too low for any run."""


_FIXES = {
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "raise the system's limit fs.file-max",
    errno.ENOMEM: "use a larger machine, or raise `ulimit -v`",
    errno.EAGAIN: "raise `ulimit -u`, or the container's limit of processes",
    errno.ENOSPC: "make room there, for bytes and for files (`df -h`, `df -i`)",
    errno.EDQUOT: "make room there, or raise the quota",
    errno.EFBIG: "raise `ulimit -f`",
    errno.EROFS: "choose another folder",
    errno.EIO: "check that disk",
    errno.ESTALE: "mount that file system again",
}
# The words in which TensorFlow, Python and the dynamic linker report the same, without a number.
_WORDS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Too many open files": errno.EMFILE,
    "can't start new thread": errno.EAGAIN,
    "failed to map segment": errno.ENOMEM,
    "Cannot allocate memory": errno.ENOMEM,
}


# TensorFlow maps 2.8 GiB for a small run on two cores, and aborts the process where it cannot.
_MIN_ADDRESS_BYTES = 3 << 30


def check() -> None:
    """Raises LimitError where this process may map too little memory for TensorFlow."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < _MIN_ADDRESS_BYTES:
        raise LimitError(
            f"`ulimit -v` must be at least {_MIN_ADDRESS_BYTES >> 10}, for TensorFlow. Received: "
            f"{allowed >> 10}; raise it, and limit the memory of a container or cgroup instead."
        )


def describe(error: BaseException) -> str:
    """The message for an error that more of something would fix; "" for any other error."""
    if isinstance(error, OSError) and error.errno in _FIXES:
        where = f" for {error.filename!r}" if error.filename else ""
        return f"{os_reason(error)}. Received: this{where}; {_FIXES[error.errno]}."
    text = str(error)
    for words, number in _WORDS.items():
        if words in text:
            return f"{words}. Received: {_shortened(text)}; {_FIXES[number]}."
    # By its name: TensorFlow may not be imported.
    if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
        return ""
    asked = re.search(
        r"(OOM when allocating|Unable to allocate).*?(?= on /job:| by allocator|$)", text
    )
    return (
        f"memory ran out. Received: {asked[0] if asked else type(error).__name__}; lower "
        "`model.hidden_units` or `data.global_batch_size`, or use a larger machine."
    )


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:197]}..."
