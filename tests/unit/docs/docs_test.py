"""Do the documents agree with the program, with each other and with their own conventions?"""

import ast
import re
from xml.etree import ElementTree

import pytest

from tests import documents
from tests.paths import ROOT
from trainer.cli import config_page
from trainer.cli import parser as cli_parser

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SHOWN = {"bash", "console", "python", "text", "json", "yaml"}


def _id(page):
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", documents.PAGES, ids=_id)


def _anchors(page) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", documents.without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page) -> list[str]:
    broken = []
    for link in _LINK.findall(documents.without_blocks(page)):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    return broken


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert not _broken(page)


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`-3!\n[a](page.md#one-two-3) [b](#one) [c](none.md)\n```\n[d](x)\n```\n"
    )
    assert _broken(page) == ["#one", "none.md"]


def test_every_page_of_the_documentation_is_in_its_list():
    listed = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert not {name for name in pages if f"]({name})" not in listed}


def test_the_front_page_is_short():
    assert (ROOT / "README.md").stat().st_size <= 8_000


def test_the_picture_shows_equal_weights_and_loads_nothing():
    text = (ROOT / "docs" / "killed-worker.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    shown = [element.text for element in root.iter() if element.get("class") == "sha"]
    assert len(shown) == 3 and len({*shown}) == 1
    assert re.findall(r"https?://[^\s\"')]+", text) == ["http://www.w3.org/2000/svg"]


@every_page
def test_every_block_says_what_it_is(page):
    for block in documents.blocks(page):
        is_not_run = block.info.startswith("sh no-run: ") and len(block.info.split()) > 3
        assert block.info in _SHOWN or is_not_run, block.info
        for one in block.commands if block.info == "bash" else ():
            assert documents.own_file(one) or documents.trainer_args(one) is not None, one


@every_page
def test_every_command_is_one_that_the_program_or_make_knows(page):
    targets = re.findall(r"^([.\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in documents.blocks(page):
        if block.info != "bash" and not block.info.startswith("sh "):
            continue
        for command in block.commands:
            if command[0] == "make":
                assert command[1] in targets
            args = documents.trainer_args(command)
            if args and "…" not in args and not args[0].startswith("--help"):
                cli_parser.parse(args)


def test_the_page_of_the_config_is_the_schemas():
    found = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert found == config_page.page(), "run python -m trainer.cli.config_page > docs/config.md"


def _texts_of_the_program() -> str:
    found = []
    for path in [*(ROOT / "trainer").rglob("*.py"), *(ROOT / "strategies").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_every_message_that_is_explained_is_one_of_the_program():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    tables = page.partition("## It runs")[0]
    messages = re.findall(r"^\| ([^|]+?) \|", tables, re.MULTILINE)
    messages = [message for message in messages if message != "the message says"]
    assert len(messages) > 15
    known = _texts_of_the_program()
    pieces = [piece.strip(" ;") for message in messages for piece in message.split("…")]
    assert not [piece for piece in pieces if piece not in known]
