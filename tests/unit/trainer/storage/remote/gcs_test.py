"""Are objects read and written by generation, and is each failure reported in one line?"""

import functools
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from strategies.errors import EXIT_BAD_INPUT, EXIT_RESUME
from tests.bucket_server import BUCKET, TOKEN
from trainer.storage.remote import gcs
from trainer.storage.remote.errors import BucketError, BucketUnavailable, PreconditionFailed
from trainer.storage.remote.gcs import ABSENT, Address, BucketFolder

# Google's client does not close the connection of a download that was refused.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def folder(bucket, monkeypatch):
    monkeypatch.setattr(gcs, "DEADLINE_S", 2.0)
    return BucketFolder(Address.parse(f"gs://{BUCKET}/runs/one"))


def test_an_address_is_a_bucket_and_a_folder_in_it():
    address = Address.parse("gs://my-bucket/runs/one/")
    assert (address.bucket, address.folder) == ("my-bucket", "runs/one")
    assert str(address) == "gs://my-bucket/runs/one"


@pytest.mark.parametrize(
    "text",
    ["gs:", "gs://", "gs:/b/run", "gs://bucket", "gs://bucket/", "gs://Bucket/run", "gs://b/run",
     "gs://bucket/a//b", "gs://bucket/../b", "gs://bucket/a\nb"],
)  # fmt: skip
def test_an_address_without_a_folder_or_a_valid_bucket_is_refused(text):
    with pytest.raises(BucketError, match=r"gs://bucket/runs/one\. Received: 'gs:"):
        Address.parse(text)


def test_an_object_is_read_as_written_and_each_write_has_a_new_generation(folder):
    content = bytes(range(256)) * 100
    first = folder.write("a/b.bin", content, ABSENT)
    assert folder.read("a/b.bin", first) == content
    second = folder.write("a/b.bin", b"", first)
    assert second != first
    assert folder.read("a/b.bin", second) == b""
    assert folder.generations() == {"a/b.bin": second}
    assert folder.generation("a/b.bin") == second
    assert folder.generation("a/c.bin") == ABSENT


def test_a_large_object_is_uploaded_in_parts_and_read_as_written(folder):
    content = bytes(range(251)) * 40_000
    assert folder.read("large", folder.write("large", content, ABSENT)) == content


def test_objects_in_other_folders_are_not_listed(folder, bucket):
    BucketFolder(Address.parse(f"gs://{BUCKET}/runs/one-more")).write("a", b"", ABSENT)
    assert folder.generations() == {}


@pytest.mark.parametrize("name", ["../two/a", "a/../../b", "/etc/a", "a//b", "a/", "a\nb", "."])
def test_an_object_whose_name_is_not_a_path_below_the_folder_is_not_listed(folder, bucket, name):
    kept = folder.write("kept", b"", ABSENT)
    bucket.add_unchecked(f"runs/one/{name}")
    assert folder.generations() == {"kept": kept}


@pytest.mark.parametrize("generation", [ABSENT, 1])
def test_an_object_that_another_process_wrote_is_not_overwritten(folder, generation):
    folder.write("a", b"theirs", ABSENT)
    with pytest.raises(PreconditionFailed):
        folder.write("a", b"mine", generation)
    assert folder.read("a", folder.generation("a")) == b"theirs"


def test_an_object_that_another_process_replaced_is_neither_removed_nor_read(folder):
    before = folder.write("a", b"one", ABSENT)
    folder.write("a", b"two", before)
    with pytest.raises(PreconditionFailed):
        folder.remove("a", before)
    with pytest.raises(PreconditionFailed):
        folder.read("a", before)
    assert folder.generation("a")


def test_removing_an_object_twice_is_not_an_error(folder):
    generation = folder.write("a", b"", ABSENT)
    folder.remove("a", generation)
    folder.remove("a", generation)
    assert folder.generations() == {}


def test_a_write_whose_response_was_lost_has_succeeded(folder, bucket):
    before = folder.write("a", b"one", ABSENT)
    bucket.lost_responses = 1
    after = folder.write("a", b"two", before)
    assert after not in (ABSENT, before)
    assert folder.read("a", after) == b"two"


def test_a_bucket_that_does_not_exist_is_named(folder):
    with pytest.raises(
        BucketError, match=r"a bucket that exists\. Received: gs://no-such-bucket/run"
    ) as caught:
        BucketFolder(Address.parse("gs://no-such-bucket/run")).generations()
    assert caught.value.exit_code == EXIT_BAD_INPUT


def test_without_permission_the_error_names_the_role_to_ask_for(folder, bucket):
    bucket.status = 403
    for call in (
        folder.generations,
        folder.missing_permissions,
        lambda: folder.write("a", b"", ABSENT),
    ):
        with pytest.raises(BucketError, match="Storage Object User"):
            call()
    bucket.status = 0
    assert folder.missing_permissions() == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_call_to_an_unavailable_bucket_ends_at_its_deadline(folder, bucket, status):
    bucket.status = status
    with pytest.raises(
        BucketUnavailable, match=f"could not be listed.*gs://{BUCKET}/runs/one"
    ) as caught:
        folder.generations()
    assert caught.value.exit_code == EXIT_RESUME
    assert "\n" not in str(caught.value)


def test_a_call_without_any_server_ends_at_its_deadline(folder, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(BucketUnavailable, match="could not be listed"):
        folder.generations()


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
    generation = folder.write("a", b"mine", ABSENT)
    assert folder.read("a", generation) == b"mine"
    assert bucket.authorization == f"Bearer {TOKEN}"


def test_without_credentials_the_error_says_how_to_get_them(folder, guarded, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(BucketError, match="application-default login"):
        folder.generations()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"type": "service_account"}', "key"])
def test_invalid_credentials_are_reported_in_one_line(folder, bucket, guarded, text):
    guarded(_service_account(bucket, "no key") if text == "key" else text)
    with pytest.raises(BucketError, match="application-default login") as caught:
        folder.generations()
    assert "\n" not in str(caught.value)


def test_expired_credentials_are_reported(folder, bucket, guarded):
    guarded(_service_account(bucket))
    bucket.token_status = 400
    with pytest.raises(BucketError, match="invalid_grant.*application-default login"):
        folder.generations()


def test_without_googles_client_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(gcs, "exact_version", lambda name: None)
    with pytest.raises(BucketError, match=r"pip install 'muster\[gs\]'"):
        BucketFolder(Address.parse("gs://bucket/run"))
