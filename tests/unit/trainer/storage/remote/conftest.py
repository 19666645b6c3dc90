"""Tests of buckets run with every kind of bucket, unless they name theirs.

Those of a file's LONG_KINDS are further cases of what its other kinds, and the buckets' own tests, show.
"""

import pytest

from tests.buckets import servers


def pytest_generate_tests(metafunc):
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "bucket" in metafunc.fixturenames and "bucket" not in named:
        long = getattr(metafunc.module, "LONG_KINDS", ())
        kinds = [
            pytest.param(kind, marks=[pytest.mark.long] * (kind in long)) for kind in servers.KINDS
        ]
        metafunc.parametrize("bucket", kinds, indirect=True)
