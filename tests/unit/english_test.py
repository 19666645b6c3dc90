"""Is the text plain English? Phrases that made readers stop are found nowhere in sources and documents.

Each pattern has the plainer way beside it. The list has the clear cases only: it is no substitute for
reading a sentence aloud.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

# The phrase, and what to write in its place.
PLAINER = {
    r"(comes?|came|coming) on\b(?! (a|an|the|its|every|each|all|one|any|to)\b)": "makes progress",
    r"(goes|going|went) on\b|go on\b": "resumes, continues",
    r"(is|be|are|was|been|were|being) had\b": "is available",
    r"who (looks?|listens?|is lost|asks?|waits?|serves?|reads?|wrote|left|leaves|calls)\b": "a noun",
    r"(un)?mend(s|ed|ing)?\b": "fixes",
    r"without end\b": "forever",
    r"of one piece\b": "consistent",
    r"(what|all) (it|they) (comes?|came) to\b": "the result",
    r"c[ao]mes? of (it|them|that)\b": "the result",
    r"ways? out\b|way_out\b": "how to fix it, fix",
    r"so many\b|as many\b(?! as)": "N, the same number",
    r"not so\b": "not, no",
    r"is no (\w+ )?(field|flag|key|verb|recipe|folder)\b": "is not a ...",
    r"by (itself|himself|themselves)\b": "automatically, alone",
    r"tasks? alone\b": "a single task",
    r"be it\b": "whether",
    r"(whence|thence|wherefrom|in vain|oftener|whoever)\b": "where from, ...",
    r"stands? (in|at|still|there|for)\b": "is in, is stalled, ...",
    r"lies? (in|at|on|there|below|beside|where)\b": "is stored in, ...",
}
PATTERNS = {re.compile(rf"\b({phrase})", re.IGNORECASE): plain for phrase, plain in PLAINER.items()}
ENDINGS = (".py", ".md", ".yaml", ".yml", ".sh", ".toml", ".sbatch")
NAMES = ("Makefile", "Dockerfile")


def _texts() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:  # As in an archive of the sources.
        return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


TEXTS = [
    path
    for path in _texts()
    if (path.name.endswith(ENDINGS) or path.name in NAMES) and path != Path(__file__)
]


def _found(text: str) -> list[str]:
    return [
        f"line {number}: {match[0]!r}; plainer: {plain}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, plain in PATTERNS.items()
        for match in [pattern.search(line)]
        if match
    ]


def test_there_are_texts_to_read():
    assert len(TEXTS) > 200
    assert {ROOT / "README.md", ROOT / "trainer" / "__main__.py"} <= {*TEXTS}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_is_one_that_made_readers_stop(path):
    assert not _found(path.read_text(encoding="utf-8", errors="replace"))


def test_a_phrase_is_found_with_its_plainer_way():
    assert _found("x\nthe run goes on") == ["line 2: 'goes on'; plainer: resumes, continues"]
    assert not _found("the run resumes; it comes on the wire, at least as many as there are")
