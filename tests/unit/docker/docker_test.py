"""Do the Dockerfile and the compose files satisfy SECURITY.md? They are read, not run."""

import re

import pytest

from tests.paths import ROOT
from trainer import __version__

_DOCKER = ROOT / "docker"
_COMPOSE = sorted(path.name for path in _DOCKER.glob("compose.*.yaml"))
_TASK = "compose.task.yaml"


def _lines(name):
    """The file's lines without comments, stripped."""
    text = re.sub(r"(^|\s)#.*", "", (_DOCKER / name).read_text(), flags=re.MULTILINE)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _blocks(name, section):
    """The lines of each entry of a section of the file, by the entry's name."""
    text = re.sub(r"(^|\s)#.*", "", (_DOCKER / name).read_text(), flags=re.MULTILINE)
    (body,) = re.findall(rf"^{section}:\n((?: .*\n|\n)*)", text, re.MULTILINE)
    parts = re.split(r"^  (\w+):", body, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_service_has_a_read_only_root_and_no_capabilities():
    task = _lines(_TASK)
    for line in (
        "read_only: true",
        "cap_drop: [ALL]",
        'security_opt: ["no-new-privileges:true"]',
        "restart: on-failure:${RESTARTS:-5}",
        "memory: ${MEMORY:-2g}",
        "pids: 2048",
    ):
        assert line in task
    for name in {*_COMPOSE} - {_TASK}:
        for service in _blocks(name, "services").values():
            assert "extends: {file: compose.task.yaml, service: task}" in service


@pytest.mark.parametrize("name", _COMPOSE)
def test_no_port_is_published_and_the_network_is_internal(name):
    keys = {line.partition(":")[0] for line in _lines(name)}
    assert not keys & {"ports", "expose", "privileged", "cap_add", "network_mode", "pid", "devices"}
    if name != _TASK:
        networks = _blocks(name, "networks")
        assert [*networks] == ["cluster"] and networks["cluster"].split() == ["internal:", "true"]


def test_the_image_has_a_numeric_user_and_builds_without_buildkit():
    lines = _lines("Dockerfile")
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    text = "\n".join(lines)
    for syntax in ("--mount", "--link", "--chmod", "<<"):
        assert syntax not in text
    assert not (_DOCKER / "Dockerfile").read_text().startswith("# syntax")


def test_the_image_is_labelled_with_the_version_of_the_program():
    (label,) = [line for line in _lines("Dockerfile") if "image.version" in line]
    assert f'org.opencontainers.image.version="{__version__}"' in label


def test_the_image_contains_only_what_it_needs_and_no_secret():
    listed = (ROOT / ".dockerignore").read_text().splitlines()
    wanted = {line.removeprefix("!") for line in listed if line.startswith("!")}
    assert "*" in listed and wanted == {"setup.py", "configs", "strategies", "trainer"}
