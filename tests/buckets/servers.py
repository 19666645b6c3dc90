"""Which kinds of bucket can tests use on this machine?"""

import importlib.util
import os
import shutil

import pytest

from tests.buckets import azure
from tests.buckets.azure import AzureBucket
from tests.buckets.google import GoogleBucket
from tests.buckets.s3 import S3Bucket
from tests.buckets.served import ServedBucket

KINDS = ("gs", "s3", "az")


def serving(kind: str) -> ServedBucket:
    """An empty bucket of that kind. Skips the test where its server is not installed."""
    if kind == "az":
        if not shutil.which(azure.PROGRAM):
            pytest.skip(f"needs {azure.PROGRAM}; run `npm install --global azurite`")
        return AzureBucket()
    if kind == "s3":
        if not importlib.util.find_spec("moto"):
            pytest.skip("needs the package moto; run `pip install '.[dev]'`")
        return S3Bucket()
    return GoogleBucket()


def lead_to(bucket: ServedBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process, and those it starts, use the bucket, and no credentials of this machine."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "AZURE_")):
            monkeypatch.delenv(name)
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
