"""Are lines printed, or dropped without harm, whatever the streams are?"""

import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

TRAINER = f"{sys.executable} -m trainer"
REFUSED = f"{TRAINER} --config=/tmp/\u00e9/none.py"
FULL = "muster: error: `stdout` cannot be written (No space left on device)"


def _shell(command, **environ):
    """(exit code of the first command of a pipe, stdout, stderr)."""
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], check=False, cwd=ROOT, timeout=120,
        env={**os.environ, **environ}, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "command, code, out, errors",
    [
        (f"{TRAINER} --help | head -1", 0, "muster ", ""),
        (f"{TRAINER} --help | true", 0, "", ""),
        (f"{TRAINER} --help >&-", 0, "", ""),
        (f"{TRAINER} --help >/dev/full", 2, "", FULL),
        (f"{TRAINER} --help <&- >&- 2>&-", 0, "", ""),
        (f"{REFUSED} 2>&-", 2, "", ""),
        (f"{REFUSED} 2>/dev/full", 2, "", ""),
        (f"{REFUSED} 2>&1 >/dev/null | true", 2, "", ""),
        (f"{TRAINER}.health abc", 2, "", "muster: error: `SECONDS` must be a number above 0."),
        (f"{TRAINER}.health 5 >/dev/full", 1, "", ""),
    ],
)
def test_no_stream_ends_in_a_traceback(command, code, out, errors):
    ended, printed, said = _shell(command)
    assert (ended, bool(printed)) == (code, bool(out)), said
    assert printed.startswith(out)
    assert said.startswith(errors) and len(said.splitlines()) == bool(errors)


def test_an_ascii_screen_shows_other_characters_by_their_numbers():
    code, _, errors = _shell(f"{TRAINER} --\u00e9", PYTHONIOENCODING="ascii")
    assert code == 2
    assert errors.startswith("muster: error: ") and "\\" in errors and errors.isascii()


PRINTS_WITHOUT_A_READER = """
import os, sys, threading
from trainer.process import console
console.PATIENCE_S = 0.5
console.set_up()
threading.Thread(target=lambda: print("x" * (1 << 20), flush=True), daemon=True).start()
os.dup2(1, 2)
console.print_line("nobody reads this")
console.flush()
os._exit(75)
"""


def test_a_reader_that_reads_nothing_holds_up_no_line_for_long():
    nobody_reads, theirs = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS_WITHOUT_A_READER], cwd=ROOT, stdout=theirs, stderr=theirs
    ) as process:
        try:
            assert process.wait(60) == 75
        finally:
            process.kill()
            os.close(theirs)
            os.close(nobody_reads)


def test_a_closed_stream_is_not_given_to_the_next_file(tmp_path):
    code = (
        "from trainer.process import console; import os; console.set_up(); "
        f"print(open({str(tmp_path / 'file')!r}, 'w').fileno()); "
        "os.write(2, str(open(os.devnull).fileno()).encode())"
    )
    _, _, said = _shell(f'{sys.executable} -c "{code}" <&- >&-')
    assert int(said) > 2
