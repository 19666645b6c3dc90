"""Which credentials do S3 and Azure take, and is a server refused that knows no conditions?"""

import configparser

import pytest

from strategies.errors import EXIT_BAD_INPUT, EXIT_RESUME
from trainer.storage.remote import bucket as bucket_lib
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT
from trainer.storage.remote.errors import BucketError, BucketUnavailable, PreconditionFailed
from trainer.storage.remote.kinds import az, s3

both = pytest.mark.parametrize("bucket", ["s3", "az"], indirect=True)
on_s3 = pytest.mark.parametrize("bucket", ["s3"], indirect=True)
on_azure = pytest.mark.parametrize("bucket", ["az"], indirect=True)


@pytest.fixture
def folder(bucket):
    return Address.parse(f"{bucket.folder_url}/runs/one").open()


def _refusal(folder, match: str) -> None:
    with pytest.raises(BucketError, match=match) as caught:
        folder.versions()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_BAD_INPUT


@on_s3
@pytest.mark.parametrize(
    "status, code, match",
    [
        (400, "ExpiredToken", "needs AWS's credentials.*ExpiredToken; set AWS_ACCESS_KEY_ID"),
        (403, "InvalidAccessKeyId", "needs AWS's credentials.*InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch", "needs AWS's credentials"),
        (403, "RequestTimeTooSkewed", "whose clock differs.*; set the clock of this machine"),
        (400, "AuthorizationHeaderMalformed", "of another region.*; set AWS_REGION"),
        (403, "AccessDenied", "without permission.*AccessDenied.*; ask for s3:ListBucket"),
        (501, "NotImplemented", "takes no conditional writes"),
    ],
)
def test_each_refusal_of_s3_is_one_line_with_its_fix(
    folder, bucket, monkeypatch, status, code, match
):
    monkeypatch.setattr(bucket_lib, "DEADLINE_S", 2.0)  # The client retries some of them.
    bucket.status, bucket.code = status, code
    _refusal(folder, match)


@on_azure
@pytest.mark.parametrize(
    "status, code, match",
    [
        (401, "InvalidAuthenticationInfo", "needs Azure's credentials.*; set AZURE_STORAGE_ACC"),
        (403, "AuthorizationPermissionMismatch", "ask for the role Storage Blob Data Contributor"),
    ],
)
def test_each_refusal_of_azure_is_one_line_with_its_fix(folder, bucket, status, code, match):
    bucket.status, bucket.code = status, code
    _refusal(folder, match)


@on_azure
def test_a_wrong_key_of_an_account_is_reported(folder, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
    _refusal(folder, "needs Azure's credentials for az://.*Received: 403 Forbidden")


@both
def test_without_credentials_the_error_comes_at_once(folder, bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # No profiles.
    monkeypatch.setenv("PATH", str(tmp_path))  # No `az`.
    for name in ("AWS_ACCESS_KEY_ID", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    _refusal(folder, "Received: none, and a machine without an identity of its own; set A")


@both
@pytest.mark.parametrize(
    "changes, match",
    [
        ({"AWS_SECRET_ACCESS_KEY": "", "AZURE_STORAGE_ACCOUNT_KEY": "!"}, "credentials for"),
        ({"AWS_ENDPOINT_URL": "x", "AZURE_STORAGE_ENDPOINT": "x"}, "the endpoint 'x'; set A"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
             "AWS_WEB_IDENTITY_TOKEN_FILE": "/x", "AWS_ROLE_ARN": "x",
             "AZURE_STORAGE_ACCOUNT_KEY": "", "AZURE_FEDERATED_TOKEN_FILE": "/x",
             "AZURE_CLIENT_ID": "x", "AZURE_TENANT_ID": "x"},
            "credentials for.*token file",
        ),
    ],
)  # fmt: skip
def test_invalid_settings_are_reported_in_one_line(folder, monkeypatch, changes, match):
    for name, value in changes.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    _refusal(folder, match)


@on_azure
def test_without_an_account_the_error_says_how_to_name_it(folder, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    _refusal(folder, "no name of a storage account; set AZURE_STORAGE_ACCOUNT_NAME")


def _write_profiles(path, **profiles) -> None:
    parser = configparser.ConfigParser()
    parser.read_dict(profiles)
    with open(path, "w") as file:
        parser.write(file)


@on_s3
def test_a_profile_gives_the_credentials(folder, bucket, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    secret = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    _write_profiles(tmp_path / "credentials", default=secret, training=secret)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "training")
    version = folder.write("a", b"mine", ABSENT)
    assert folder.read("a", version) == b"mine"
    monkeypatch.setenv("AWS_PROFILE", "absent")
    _refusal(Address.parse(f"{bucket.folder_url}/runs/one").open(), r"profile \(absent\)")


@on_s3
def test_an_expired_sign_in_of_a_profile_is_reported(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    session = {"sso_region": "us-east-1", "sso_start_url": "https://example.com/start"}
    account = {"sso_session": "x", "sso_account_id": "1", "sso_role_name": "r"}
    _write_profiles(tmp_path / "config", default=account, **{"sso-session x": session})
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    _refusal(folder, "SSOTokenLoadError.*or AWS_PROFILE after `aws sso login`")


@both
def test_an_object_that_no_run_can_have_written_is_named(folder, bucket):
    bucket.add_unchecked("runs/one/a//b")
    _refusal(folder, "a//b.*; remove that object, or choose another folder")


@both
def test_what_a_user_may_not_do_is_known_before_anything_is_written(folder, bucket):
    def refuse_deletions() -> None:
        bucket.status = 403 if bucket.requests[-1][0] in ("DELETE", "POST") else 0

    bucket.before_request = refuse_deletions
    denied = {"s3": "s3:DeleteObject", "az": "to delete blobs"}[bucket.kind]
    assert folder.permissions_warning() == f"you lack {denied}"
    assert bucket.names("runs/one") == []


@on_s3  # Azure's clients sign these headers.
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_server_that_ignores_conditions_is_refused_at_the_first_write(folder, bucket, header):
    bucket.dropped_header = header
    with pytest.raises(BucketError, match=f"takes no conditional writes .it ignored {header}."):
        folder.write("a", b"", ABSENT)
    assert ".check" not in bucket.names("runs/one")


@both
def test_while_an_object_is_removed_no_other_process_can_replace_it(folder, bucket):
    """It is removed in two requests."""
    other = Address.parse(f"{bucket.folder_url}/runs/one").open()
    other.write("warm", b"", ABSENT)
    version = folder.write("a", b"one", ABSENT)
    refused = []

    def replace() -> None:
        bucket.after_write = lambda: None
        for expected in (version, ABSENT):
            with pytest.raises(PreconditionFailed):
                other.write("a", b"theirs", expected)
            refused.append(expected)

    bucket.after_write = replace
    folder.remove("a", version)
    assert refused == [version, ABSENT]
    assert "a" not in folder.versions()


@both
def test_a_folder_with_a_marker_as_consoles_create_it_is_used(folder, bucket):
    bucket.add_unchecked("runs/one/")
    version = folder.write("a", b"", ABSENT)
    assert folder.versions()["a"] == version


@on_s3
def test_a_file_that_one_write_cannot_hold_is_refused(folder, monkeypatch):
    monkeypatch.setattr(folder, "_max_bytes", 5)
    with pytest.raises(BucketError, match=r"takes 5 bytes in one conditional write, not 6; use"):
        folder.write("a", b"123456", ABSENT)


@both
def test_a_slow_server_is_unavailable_and_not_a_fault_of_the_user(folder, bucket, monkeypatch):
    monkeypatch.setattr(bucket_lib, "DEADLINE_S", 2.0)
    bucket.status, bucket.code = 503, "SlowDown"
    with pytest.raises(BucketUnavailable, match="503 Service Unavailable: SlowDown") as caught:
        folder.versions()
    assert caught.value.exit_code == EXIT_RESUME


@pytest.mark.parametrize("kind, module", [("s3", s3), ("az", az)])
def test_without_obstore_the_error_says_how_to_install_it(kind, module, monkeypatch):
    monkeypatch.setattr(module, "exact_version", lambda name: None)
    with pytest.raises(BucketError, match=rf"pip install 'muster\[{kind}\]'"):
        Address.parse(f"{kind}://bucket/run").open()
