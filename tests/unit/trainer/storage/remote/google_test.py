"""Which credentials of Google's are used, and how is each failure of theirs reported?"""

import functools
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.buckets.google import TOKEN
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT
from trainer.storage.remote.errors import BucketError
from trainer.storage.remote.kinds import gs

pytestmark = pytest.mark.parametrize("bucket", ["gs"], indirect=True)


@pytest.fixture
def folder(bucket):
    return Address.parse(f"{bucket.folder_url}/runs/one").open()


@pytest.mark.parametrize("name", ["../two/a", "a/../../b", "/etc/a", "a//b", "a/", "a\nb", "."])
def test_an_object_whose_name_is_not_a_path_below_the_folder_is_not_listed(folder, bucket, name):
    kept = folder.write("kept", b"", ABSENT)
    bucket.add_unchecked(f"runs/one/{name}")
    assert folder.versions() == {"kept": kept}


@pytest.fixture
def guarded(folder, bucket, monkeypatch, tmp_path):
    """The same bucket, with credentials required: `guarded(text)` writes the credentials file."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", bucket.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # No metadata server is asked.
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))

    def write(text: str) -> None:
        (tmp_path / "credentials.json").write_text(text)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))

    return write


def _service_account(bucket, key: str = "") -> str:
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "muster@example.com",
            "token_uri": f"{bucket.url}/token",
            "private_key": key or _private_key(),
        }
    )


@functools.cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()


def test_a_service_account_is_authorized_by_its_token(folder, bucket, guarded):
    guarded(_service_account(bucket))
    version = folder.write("a", b"mine", ABSENT)
    assert folder.read("a", version) == b"mine"
    assert bucket.authorization == f"Bearer {TOKEN}"


def test_without_credentials_the_error_says_how_to_get_them(folder, guarded, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(BucketError, match="application-default login"):
        folder.versions()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"type": "service_account"}', "key"])
def test_invalid_credentials_are_reported_in_one_line(folder, bucket, guarded, text):
    guarded(_service_account(bucket, "no key") if text == "key" else text)
    with pytest.raises(BucketError, match="application-default login") as caught:
        folder.versions()
    assert "\n" not in str(caught.value)


def test_expired_credentials_are_reported(folder, bucket, guarded):
    guarded(_service_account(bucket))
    bucket.token_status = 400
    with pytest.raises(BucketError, match="invalid_grant.*application-default login"):
        folder.versions()


def test_without_googles_client_the_error_says_how_to_install_it(bucket, monkeypatch):
    monkeypatch.setattr(gs, "exact_version", lambda name: None)
    with pytest.raises(BucketError, match=r"pip install 'muster\[gs\]'"):
        Address.parse("gs://bucket/run").open()
