"""At which call is a process killed? At the Nth rename, fsync, mkdir, append or fork of its whole tree.

Warm processes import this module, and all that are forked from them inherit it. It acts where the
variable MUSTER_TEST_KILL names a journal, to which every such call adds a line.
"""

import builtins
import io
import os
import signal
import threading

VARIABLE = "MUSTER_TEST_KILL"  # KIND:N:before or :after, then the journal; N 0: nothing is killed.
KINDS = ("rename", "fsync", "mkdir", "append", "fork")
_BORN = "born"
_lock = threading.Lock()
_fork = os.fork


def journal(path) -> tuple[dict[str, int], set[int]]:
    """The number of calls of each kind, and the processes that were seen."""
    lines = [line.split() for line in path.read_text().splitlines()]
    counts = {kind: sum(line[0] == kind for line in lines) for kind in KINDS}
    return counts, {int(line[1]) for line in lines}


def _add_line(path: str, kind: str) -> int:
    """The number of this call among those of its kind."""
    with _lock:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, f"{kind} {os.getpid()}\n".encode())
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            text = os.pread(descriptor, end, 0).decode()
        finally:
            os.close(descriptor)
    return sum(line.startswith(f"{kind} ") for line in text.splitlines())


def _moment(kind: str) -> str:
    """ "before" or "after", if this is the call at which the process is to be killed."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return ""
    chosen, number, moment, path = wanted.split(":", 3)
    return moment if _add_line(path, kind) == int(number) and kind == chosen else ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hook(name: str, kind: str) -> None:
    real = getattr(os, name)

    def hooked(*args, **options):
        moment = _moment(kind)
        if moment == "before":
            _die()
        result = real(*args, **options)
        if moment == "after":
            _die()
        return result

    setattr(os, name, hooked)


def _hooked_fork() -> int:
    moment = _moment("fork")
    if moment == "before":
        _die()
    pid = _fork()
    if wanted := os.environ.get(VARIABLE):
        if pid == 0:
            _add_line(wanted.split(":", 3)[3], _BORN)
        elif moment == "after":
            _die()
    return pid


class _Appended(io.FileIO):
    def write(self, data):
        moment = _moment("append")
        if moment == "before":
            _die()
        if moment == "after":  # Half of the line is written.
            super().write(bytes(data)[: len(data) // 2])
            _die()
        return super().write(data)


_open = builtins.open


def _hooked_open(file, mode="r", buffering=-1, *args, **options):
    if os.environ.get(VARIABLE) and buffering == 0 and mode in ("ab", "ab+"):
        return _Appended(file, mode.replace("b", ""))
    return _open(file, mode, buffering, *args, **options)


def install() -> None:
    _hook("rename", "rename")
    _hook("replace", "rename")
    _hook("fsync", "fsync")
    _hook("mkdir", "mkdir")
    os.fork = _hooked_fork
    builtins.open = _hooked_open


install()
