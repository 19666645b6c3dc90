"""Does what is released work, installed in an environment of its own and outside the checkout?

The source distribution is built, the wheel is built from it, and a fresh environment gets the wheel. The
packages that the wheel requires are those of the environment that runs the tests: a path file leads to
them, which does not lead to the checkout that is installed there.
"""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT
from trainer import __version__

FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("trainer", "strategies", "configs")


def _run(*command, **options) -> str:
    ran = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=280, check=False, **options
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both distributions, built from a copy: building writes into its source."""
    folder = tmp_path_factory.mktemp("release")
    source = folder / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    dist = folder / "dist"
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source)
    return dist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of programs of a fresh environment with the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet", wheel)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def test_the_distributions_hold_the_program_and_nothing_else(built):
    names = sorted(path.name for path in built.iterdir())
    assert names == [f"muster-{__version__}-py3-none-any.whl", f"muster-{__version__}.tar.gz"]
    with zipfile.ZipFile(built / names[0]) as wheel:
        held = [Path(name) for name in wheel.namelist()]
        metadata = wheel.read(f"muster-{__version__}.dist-info/METADATA").decode()
    assert {path.parts[0] for path in held} == {*PACKAGES, f"muster-{__version__}.dist-info"}
    modules = {path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert modules == {path for path in held if path.suffix == ".py"}
    assert {Path("trainer/py.typed"), Path("strategies/py.typed")} <= set(held)
    assert "# Muster" in metadata
    assert re.search(r"^License(-Expression)?: Apache-2\.0$", metadata, re.MULTILINE)
    with tarfile.open(built / names[1]) as source:
        assert {"README.md", "LICENSE", "setup.py"} <= {Path(n).name for n in source.getnames()}


def test_the_wheel_trains_outside_the_checkout(installed, tmp_path):
    environ = {"PATH": str(installed), "HOME": str(tmp_path)}
    options = {"cwd": tmp_path, "env": environ}
    assert _run("muster", "--version", **options).strip() == f"muster {__version__}"
    where = "import trainer, configs; print(trainer.__file__, *configs.__path__)"
    for path in _run("python", "-c", where, **options).split():
        assert installed.parent in Path(path).parents
    flags = ["--config=digits_dense", "--config.train.epochs=1", "--workdir=run"]
    _run("muster", *flags, **options)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.7  # Ten classes, one epoch.
