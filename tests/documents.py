"""What do the documents tell a reader to type?

A fenced block says by its info string what it is:

- `bash`: commands of this program, which tests run with fewer steps,
  and `python NAME.py` of a file of the page;
- `sh no-run: REASON`: commands that tests do not run;
- `python`, with `# NAME.py` as its first line: a file that later commands of the page use;
- `console`, `text` and others: shown only.
"""

import dataclasses
import re
import shlex
from pathlib import Path

from tests.paths import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))

_FENCE = re.compile(r"^```(?P<info>[^`\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TRAINER = ["python", "-m", "trainer"]


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    info: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    @property
    def file_name(self) -> str:
        """The name of the file that the block is the content of; "" where it is none."""
        found = re.match(r"# (\w+\.py)\b", self.text) if self.info == "python" else None
        return found[1] if found else ""


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(found["info"], found["text"]) for found in _FENCE.finditer(text)]


def without_blocks(page: Path) -> str:
    """The text of a page outside of its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def own_file(command: list[str]) -> str:
    """The page's own file that a command runs; "" where it is another command."""
    is_file = len(command) == 2 and command[0] == "python" and command[1].endswith(".py")
    return command[1] if is_file else ""


def trainer_args(command: list[str]) -> list[str] | None:
    """What a command gives to this program; None where it is another's command."""
    for place in range(len(command) - 2):
        if command[place].endswith("python") and command[place + 1 : place + 3] == TRAINER[1:]:
            return command[place + 3 :]
    return None
