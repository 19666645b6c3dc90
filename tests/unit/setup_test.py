"""Is it said once, in setup.py, which packages a TPU needs?"""

import ast
import re

import pytest

from strategies.tpu import preflight
from tests.paths import ROOT

_PIN = re.compile(r"(?:tensorflow-tpu|libtpu|keras|jax(?:\[tpu\])?)[=<>~]=?[\d.]*\d")


def _listed(name):
    """The requirements in a list of setup.py, without those of another list."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return [one.value for one in node.value.elts if isinstance(one, ast.Constant)]
    raise AssertionError(f"setup.py has no {name}")


def test_what_a_user_without_a_tpus_packages_is_told_to_install_is_what_setup_asks_for():
    told = preflight._PACKAGES.split(" and ")
    assert len(told) == 2 and {*told} <= {*_listed("TPU")}


def test_the_libtpu_asked_for_is_none_with_which_tensorflow_aborts():
    (libtpu,) = [one for one in _listed("TPU") if one.startswith("libtpu==")]
    assert preflight._numbers(libtpu) < preflight._FIRST_ABORTING


@pytest.mark.parametrize(
    "file, asked",
    [
        ("docker/Dockerfile", "tpu) tensorflow=tensorflow-tpu extras=tune,gs,tpucheck ;;"),
        ("docker/cloud_tpu.sh", "MUSTER_TENSORFLOW=tensorflow-tpu ../venv/bin/python -m pip"),
        ("Makefile", "MUSTER_TENSORFLOW=tensorflow-tpu .venv-tpu/bin/python -m pip"),
    ],
)
def test_who_installs_for_a_tpu_asks_for_setups_extra_and_has_no_versions_of_its_own(file, asked):
    text = (ROOT / file).read_text()
    assert asked in text and re.search(r"\btpu(check)?[\]' ]", text)
    assert not _PIN.findall(text)
