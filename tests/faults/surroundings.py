"""Runs `python -m trainer` with the streams and limits that the first argument describes, as JSON."""

import io
import json
import os
import resource
import runpy
import sys

LIMITS = {"files": resource.RLIMIT_NOFILE, "file_bytes": resource.RLIMIT_FSIZE,
          "addresses": resource.RLIMIT_AS}  # fmt: skip


def _set_stream(number: int, kind: str) -> None:
    if kind == "closed":
        os.close(number)
    elif kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    elif kind == "no reader":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, number)
        os.close(writer)


def main() -> None:
    wanted = json.loads(sys.argv.pop(1))
    encoding = wanted.get("encoding")
    for stream in (sys.stdout, sys.stderr):
        if encoding and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors="strict")
    for name, amount in wanted["limits"].items():
        resource.setrlimit(LIMITS[name], (amount, resource.getrlimit(LIMITS[name])[1]))
    for number, kind in enumerate(wanted["streams"]):
        _set_stream(number, kind)
        if kind == "closed":  # As the interpreter starts with a closed one.
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    sys.argv[0] = "trainer"
    runpy.run_module("trainer", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
