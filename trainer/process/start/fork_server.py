"""What does the warm process do? It imports modules, and forks a process for each request.

`python -m trainer.process.start.fork_server STARTER CHANNEL MODULE...`, as `warm_process.py` starts it.
"""

import gc
import importlib
import io
import os
import runpy
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import setproctitle

from trainer.process import console, parent_death
from trainer.process.start import origin
from trainer.process.start.child import ForkedChild
from trainer.process.start.program import Program

_PID = struct.Struct("=i")
_STANDARD = (0, 1, 2)
_LEAST_BYTES = 16 << 20  # That a program needs before it has imported anything of its own.
UNBUFFERED = "PYTHONUNBUFFERED"


def receive_pid(channel: socket.socket) -> int | None:
    """The pid that a forked process sends; None where it has ended before."""
    try:
        data = channel.recv(_PID.size)
    except OSError:
        return None
    return _PID.unpack(data)[0] if len(data) == _PID.size else None


def main() -> None:
    starter, channel, *modules = sys.argv[1:]
    # It must not outlive its starter, who alone knows of it.
    parent_death.end_with(int(starter), signal.SIGKILL)
    origin.note_import()
    setproctitle.getproctitle()  # It finds the title only while the environment is as it was.
    for module in modules:
        importlib.import_module(module)
    _serve(int(starter), socket.socket(fileno=int(channel)))


def fork(channel: socket.socket) -> ForkedChild:
    """Makes a warm process of a copy of this one, which must have no threads."""
    starter = os.getpid()
    if pid := os.fork():
        return ForkedChild(pid)
    try:
        os.setsid()
        parent_death.end_with(starter, signal.SIGKILL)
        _show_in_process_list([__name__, str(starter)])
        _close_all_but(channel.fileno())
        _serve(starter, channel)
    finally:
        os._exit(1)


def _close_all_but(kept: int) -> None:
    """Closes every descriptor but this one, and the standard streams are /dev/null."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in _STANDARD:
        os.dup2(nothing, number)
    os.closerange(len(_STANDARD), kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(starter: int, channel: socket.socket) -> NoReturn:
    """Forks a process for each request, until the starter closes the channel."""
    gc.freeze()  # So that a collection does not write to the pages that the processes share.
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 16, 2)
        if not data:
            os._exit(0)
        try:
            parent = _fork_twice()
        except OSError:  # There is no memory for it. The starter sees that the channel is closed.
            parent = 0
        if parent:
            channel.close()
            _become_program(parent, starter, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_twice() -> int:
    """The parent's pid in a new process, whose parent ends at once, and 0 in this one."""
    if between := os.fork():
        os.waitpid(between, 0)
        return 0
    parent = os.getpid()
    try:
        is_parent = bool(os.fork())
    except OSError:
        is_parent = True
    if is_parent:
        os._exit(0)
    return parent


def _become_program(parent: int, starter: int, output: int, descriptor: int) -> NoReturn:
    """Runs the program that the starter sends. Ends with the program, and if there is none."""
    code = 1
    try:
        os.setsid()  # The process and those that it starts form a group, which `kill` kills.
        while os.getppid() == parent:
            time.sleep(0.001)
        parent_death.end_with(starter, signal.SIGTERM)  # Ends here where it was not adopted.
        bytearray(_LEAST_BYTES)  # Without memory it ends before it counts as started.
        with socket.socket(fileno=descriptor) as channel:
            channel.sendall(_PID.pack(os.getpid()))
            text = _read_all(channel)
        program = Program.from_json(text)
        _set_up(program, output)
        code = _run(program)
    except (OSError, ValueError, MemoryError):
        pass  # The starter has given up, or is gone, or starts the program in another way.
    finally:
        os._exit(code)


def _read_all(channel: socket.socket) -> str:
    parts = []
    while part := channel.recv(1 << 16):
        parts.append(part)
    return b"".join(parts).decode()


def _set_up(program: Program, output: int) -> None:
    """Makes this process as one that was started anew for the program."""
    origin.note_fork()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in zip(_STANDARD, (nothing, output, output), strict=True):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(output)
    if program.folder:
        os.chdir(program.folder)
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()  # As `python -m` does.
    os.environ.clear()
    os.environ.update(program.environ)
    is_unbuffered = bool(program.environ.get(UNBUFFERED))
    sys.stdout = _stream(1, sys.stdout, is_unbuffered, False)
    sys.stderr = _stream(2, sys.stderr, is_unbuffered, True)
    program.limits.apply()
    label = [f"[{program.label}]"] if program.label else []
    _show_in_process_list([program.module, *program.args, *label])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.argv = [program.module, *program.args]


def _stream(number: int, before: Any, is_unbuffered: bool, by_line: bool) -> io.TextIOWrapper:
    """A standard stream as the interpreter opens it, with the encoding of the one before."""
    binary = open(number, "wb", 0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary, before.encoding, before.errors, line_buffering=by_line, write_through=is_unbuffered
    )


def _show_in_process_list(words: Sequence[str]) -> None:
    """Shows this process in `ps` as `python -m` and these words."""
    setproctitle.setproctitle(" ".join([sys.executable, "-m", *words]))


def _run(program: Program) -> int:
    """The exit code of the program, which runs as `__main__`."""
    try:
        runpy.run_module(program.module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:
        traceback.print_exc()
        code = 1
    console.flush()
    return code


def _exit_code(end: SystemExit) -> int:
    """As the interpreter exits with it."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
