"""How is a bucket of S3, or of a server that speaks its protocol, opened?

With the credentials of the environment, the container or the machine, which obstore finds, or with those
of a profile, which boto3 reads.
"""

import os
import pathlib
from typing import Any

from strategies.packages import exact_version
from trainer.storage.remote import environment
from trainer.storage.remote.address import Address
from trainer.storage.remote.errors import Faults
from trainer.storage.remote.obstore_bucket import ObstoreBucket

_MAX_BYTES = 5 << 30  # Of one request. An upload in parts would have no condition.
# obstore finds credentials by these itself, in this order.
_IN_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_PERMISSIONS = ("s3:PutObject", "s3:DeleteObject")


def open_bucket(address: Address) -> ObstoreBucket:
    """The folder. Makes no call yet. Raises BucketError if obstore is not installed."""
    faults = Faults(
        address,
        "AWS",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE after `aws sso login`, or give "
        "the machine a role",
        "s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on its objects",
    )
    if not exact_version("obstore"):
        raise faults.missing_package("obstore", "s3")

    def open_store(client: dict[str, Any], retry: dict[str, Any]) -> Any:
        from obstore.store import S3Store

        settings: dict[str, Any] = {"client_options": client, "retry_config": retry}
        if url := environment.endpoint(faults, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            settings["endpoint"] = url
            client["allow_http"] = url.startswith("http://")
        if not environment.first(*_IN_ENVIRONMENT):
            if profile := _profile(faults):
                settings["credential_provider"] = profile
            else:
                environment.require_identity(faults, "AWS_METADATA_ENDPOINT")
        return S3Store(
            address.bucket,
            prefix=address.folder,
            **settings,
        )

    return ObstoreBucket(address, faults, open_store, _PERMISSIONS, _MAX_BYTES)


def _profile(faults: Faults) -> Any:
    """The credentials of the profile that is named, or the default one; None if there are no profiles."""
    named = os.environ.get("AWS_PROFILE")
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    if not named and not any(pathlib.Path(file).expanduser().is_file() for file in files):
        return None
    if not exact_version("boto3"):
        raise faults.missing_package("boto3", "s3")
    import botocore.exceptions
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except ValueError:
        return None  # The files hold settings only.
    except botocore.exceptions.BotoCoreError as error:
        raise faults.no_credentials(f"{type(error).__name__}: {error}") from None
