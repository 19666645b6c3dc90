"""Are objects read and written by version, and is each failure reported in one line?"""

import mmap

import pytest

from strategies.errors import EXIT_BAD_INPUT, EXIT_RESUME
from trainer.storage.remote import bucket as bucket_lib
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT
from trainer.storage.remote.errors import BucketError, BucketUnavailable, PreconditionFailed

# Google's client does not close the connection of a download that was refused.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def folder(bucket):
    return Address.parse(f"{bucket.folder_url}/runs/one").open()


@pytest.fixture
def impatient(monkeypatch):
    """For what is never answered. Elsewhere a slow machine would be taken for an unavailable bucket."""
    monkeypatch.setattr(bucket_lib, "DEADLINE_S", 2.0)


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


def test_an_object_is_read_as_written_and_each_write_has_a_new_version(folder):
    content = bytes(range(256)) * 100
    first = folder.write("a/b.bin", content, ABSENT)
    assert folder.read("a/b.bin", first) == content
    second = folder.write("a/b.bin", b"", first)
    assert second != first
    assert folder.read("a/b.bin", second) == b""
    assert folder.versions() == {"a/b.bin": second}
    assert folder.version("a/b.bin") == second
    assert folder.version("a/c.bin") == ABSENT


def test_a_large_object_is_read_as_written_and_its_write_is_conditional(folder, bucket, tmp_path):
    content = bytes(range(251)) * 40_000
    (tmp_path / "large").write_bytes(content)
    with (
        open(tmp_path / "large", "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        version = folder.write("large", mapped, ABSENT)
    assert folder.read("large", version) == content
    with pytest.raises(PreconditionFailed):
        folder.write("large", content[1:], ABSENT)
    bucket.lost_responses = 1
    changed = folder.write("large", content[1:], version)
    assert folder.read("large", changed) == content[1:]


def test_objects_in_other_folders_are_not_listed(folder, bucket):
    Address.parse(f"{bucket.folder_url}/runs/one-more").open().write("a", b"", ABSENT)
    assert folder.versions() == {}


@pytest.mark.parametrize("version", [ABSENT, 1])
def test_an_object_that_another_process_wrote_is_not_overwritten(folder, version):
    folder.write("a", b"theirs", ABSENT)
    with pytest.raises(PreconditionFailed):
        folder.write("a", b"mine", version)
    assert folder.read("a", folder.version("a")) == b"theirs"


def test_an_object_that_another_process_replaced_is_neither_removed_nor_read(folder):
    before = folder.write("a", b"one", ABSENT)
    folder.write("a", b"two", before)
    with pytest.raises(PreconditionFailed):
        folder.remove("a", before)
    with pytest.raises(PreconditionFailed):
        folder.read("a", before)
    assert folder.version("a")


def test_removing_an_object_twice_is_not_an_error(folder):
    version = folder.write("a", b"", ABSENT)
    folder.remove("a", version)
    folder.remove("a", version)
    assert folder.versions() == {}


def test_a_write_whose_response_was_lost_has_succeeded(folder, bucket):
    before = folder.write("a", b"one", ABSENT)
    bucket.lost_responses = 1
    after = folder.write("a", b"two", before)
    assert after not in (ABSENT, before)
    assert folder.read("a", after) == b"two"


def test_a_bucket_that_does_not_exist_is_named(folder, bucket):
    with pytest.raises(
        BucketError, match=r"a bucket that exists\. Received: ..://no-such-bucket/run"
    ) as caught:
        Address.parse(f"{bucket.kind}://no-such-bucket/run").open().versions()
    assert caught.value.exit_code == EXIT_BAD_INPUT


def test_without_permission_the_error_names_what_to_ask_for(folder, bucket):
    bucket.status = 403
    grant = {
        "gs": "the role Storage Object User",
        "s3": "s3:ListBucket on the bucket, and s3:GetObject",
        "az": "the role Storage Blob Data Contributor",
    }[bucket.kind]
    for call in (folder.versions, lambda: folder.write("a", b"", ABSENT)):
        with pytest.raises(BucketError, match=f"ask for {grant}") as caught:
            call()
        assert "\n" not in str(caught.value)
    bucket.status = 0
    assert folder.permissions_warning() == ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_call_to_an_unavailable_bucket_ends_at_its_deadline(folder, bucket, status):
    bucket.status = status
    with pytest.raises(
        BucketUnavailable, match=f"could not be listed.*{bucket.folder_url}/runs/one"
    ) as caught:
        folder.versions()
    assert caught.value.exit_code == EXIT_RESUME
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("impatient")
def test_a_call_without_any_server_ends_at_its_deadline(folder, bucket, monkeypatch):
    for name, value in bucket.environ.items():
        if value.startswith(bucket.url):
            monkeypatch.setenv(name, value.replace(bucket.url, "http://127.0.0.1:9"))
    with pytest.raises(BucketUnavailable, match="could not be listed") as caught:
        folder.versions()
    assert "\n" not in str(caught.value)
