"""Is a bucket read and written as it must be, and each of its failures told in one line?"""

import functools
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from strategies.errors import EXIT_BAD_INPUT, EXIT_RESUME
from tests.bucket_server import BUCKET, TOKEN
from trainer.storage.remote import gcs as objects_lib
from trainer.storage.remote.errors import BucketError, PreconditionFailed, Unreachable
from trainer.storage.remote.gcs import ABSENT, Address, Objects

# Google's client leaves the connection of a download that was refused to Python to close.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def objects(bucket, monkeypatch):
    monkeypatch.setattr(objects_lib, "DEADLINE_S", 2.0)
    return Objects(Address.parse(f"gs://{BUCKET}/runs/one"))


def test_an_address_is_a_bucket_and_a_folder_in_it():
    address = Address.parse("gs://my-bucket/runs/one/")
    assert (address.bucket, address.folder) == ("my-bucket", "runs/one")
    assert str(address) == "gs://my-bucket/runs/one"


@pytest.mark.parametrize(
    "text",
    ["gs:", "gs://", "gs:/b/run", "gs://bucket", "gs://bucket/", "gs://Bucket/run", "gs://b/run",
     "gs://bucket/a//b", "gs://bucket/../b", "gs://bucket/a\nb"],
)  # fmt: skip
def test_what_is_no_folder_of_a_bucket_is_refused(text):
    with pytest.raises(BucketError, match=r"gs://bucket/runs/one\. Received: 'gs:"):
        Address.parse(text)


def test_what_is_written_is_read_and_has_a_generation_of_its_own(objects):
    content = bytes(range(256)) * 100
    first = objects.write("a/b.bin", content, ABSENT)
    assert objects.read("a/b.bin", first) == content
    second = objects.write("a/b.bin", b"", first)
    assert second != first
    assert objects.read("a/b.bin", second) == b""
    assert objects.generations() == {"a/b.bin": second}
    assert objects.generation("a/b.bin") == second
    assert objects.generation("a/c.bin") == ABSENT


def test_large_objects_take_another_way_and_arrive_as_well(objects):
    content = bytes(range(251)) * 40_000
    assert objects.read("large", objects.write("large", content, ABSENT)) == content


def test_other_folders_are_not_seen(objects, bucket):
    Objects(Address.parse(f"gs://{BUCKET}/runs/one-more")).write("a", b"", ABSENT)
    assert objects.generations() == {}


@pytest.mark.parametrize("name", ["../two/a", "a/../../b", "/etc/a", "a//b", "a/", "a\nb", "."])
def test_an_object_whose_name_is_no_place_below_the_folder_is_not_seen(objects, bucket, name):
    kept = objects.write("kept", b"", ABSENT)
    bucket.plant(f"runs/one/{name}")
    assert objects.generations() == {"kept": kept}


@pytest.mark.parametrize("generation", [ABSENT, 1])
def test_nothing_is_written_over_what_somebody_else_wrote(objects, generation):
    objects.write("a", b"theirs", ABSENT)
    with pytest.raises(PreconditionFailed):
        objects.write("a", b"mine", generation)
    assert objects.read("a", objects.generation("a")) == b"theirs"


def test_nothing_that_somebody_else_wrote_is_removed_or_taken_for_what_it_was(objects):
    before = objects.write("a", b"one", ABSENT)
    objects.write("a", b"two", before)
    with pytest.raises(PreconditionFailed):
        objects.remove("a", before)
    with pytest.raises(PreconditionFailed):
        objects.read("a", before)
    assert objects.generation("a")


def test_what_is_gone_is_removed_without_an_error(objects):
    generation = objects.write("a", b"", ABSENT)
    objects.remove("a", generation)
    objects.remove("a", generation)
    assert objects.generations() == {}


def test_a_write_whose_answer_was_lost_is_known_for_ones_own(objects, bucket):
    before = objects.write("a", b"one", ABSENT)
    bucket.lost_answers = 1
    after = objects.write("a", b"two", before)
    assert after not in (ABSENT, before)
    assert objects.read("a", after) == b"two"


def test_a_bucket_that_is_not_there_is_named(objects):
    with pytest.raises(
        BucketError, match=r"not there\. Received: gs://no-such-bucket/run"
    ) as caught:
        Objects(Address.parse("gs://no-such-bucket/run")).generations()
    assert caught.value.exit_code == EXIT_BAD_INPUT


def test_who_may_not_is_told_which_role_helps(objects, bucket):
    bucket.status = 403
    for call in (objects.generations, objects.lacking, lambda: objects.write("a", b"", ABSENT)):
        with pytest.raises(BucketError, match="Storage Object User"):
            call()
    bucket.status = 0
    assert objects.lacking() == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_bucket_that_cannot_now_ends_a_call_at_its_deadline(objects, bucket, status):
    bucket.status = status
    with pytest.raises(Unreachable, match=f"could not be listed.*gs://{BUCKET}/runs/one") as caught:
        objects.generations()
    assert caught.value.exit_code == EXIT_RESUME
    assert "\n" not in str(caught.value)


def test_no_server_at_all_ends_a_call_at_its_deadline(objects, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="could not be listed"):
        objects.generations()


@pytest.fixture
def guarded(objects, bucket, monkeypatch, tmp_path):
    """The same bucket for who has credentials: `guarded(text)` puts them there."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", bucket.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # No machine of Google's is asked for.
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))

    def put(text: str) -> None:
        (tmp_path / "credentials.json").write_text(text)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))

    return put


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


def test_a_service_account_is_let_in_by_its_token(objects, bucket, guarded):
    guarded(_service_account(bucket))
    generation = objects.write("a", b"mine", ABSENT)
    assert objects.read("a", generation) == b"mine"
    assert bucket.authorization == f"Bearer {TOKEN}"


def test_without_credentials_it_is_said_how_to_have_some(objects, guarded, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(BucketError, match="application-default login"):
        objects.generations()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"type": "service_account"}', "key"])
def test_damaged_credentials_are_told_for_such(objects, bucket, guarded, text):
    guarded(_service_account(bucket, "no key") if text == "key" else text)
    with pytest.raises(BucketError, match="application-default login") as caught:
        objects.generations()
    assert "\n" not in str(caught.value)


def test_credentials_that_are_no_longer_good_are_told_for_such(objects, bucket, guarded):
    guarded(_service_account(bucket))
    bucket.token_status = 400
    with pytest.raises(BucketError, match="invalid_grant.*application-default login"):
        objects.generations()


def test_without_googles_client_it_is_said_how_to_have_it(monkeypatch):
    monkeypatch.setattr(objects_lib, "exact_version", lambda name: None)
    with pytest.raises(BucketError, match=r"pip install 'muster\[gs\]'"):
        Objects(Address.parse("gs://bucket/run"))
