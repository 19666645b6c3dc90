"""What does it mean that a call to a bucket failed?

One of three things: the user must fix something, the bucket is unavailable for now, or the object has
changed. `Faults` words the first two alike for every kind of bucket.
"""

import dataclasses

from strategies.errors import InputError, Resumable


class BucketError(InputError):
    """The bucket cannot be used as it is: it does not exist, or this user has no access."""


class PermissionMissing(BucketError):
    """This user lacks a right."""


class BucketUnavailable(Resumable):
    """The bucket did not answer in time, or answered that it is unavailable."""


class PreconditionFailed(Exception):
    """Another process has written or removed the object."""


@dataclasses.dataclass(frozen=True)
class Faults:
    """The errors of one folder in a bucket, each as one line with the fix."""

    address: object
    owner: str  # Whose credentials it needs.
    login: str  # How to get them.
    grant: str  # What to ask for where a permission is missing.

    def missing_package(self, package: str, extra: str) -> BucketError:
        return BucketError(
            f"`--workdir` at {self.address} needs the package {package}. Received: an environment "
            f"without it; run `pip install 'muster[{extra}]'`."
        )

    def no_bucket(self) -> BucketError:
        return BucketError(
            f"`--workdir` must be in a bucket that exists. Received: {self.address}; create the "
            "bucket, or correct its name."
        )

    def no_permission(self, action: str, summary: str) -> PermissionMissing:
        return PermissionMissing(
            f"`--workdir` could not be {action}. Received: {self.address}, without permission "
            f"({summary}); ask for {self.grant}."
        )

    def no_credentials(self, summary: str) -> BucketError:
        return BucketError(
            f"`--workdir` needs {self.owner}'s credentials for {self.address}. Received: {summary}; "
            f"{self.login}."
        )

    def unusable(self, action: str, summary: str, fix: str) -> BucketError:
        return BucketError(
            f"`--workdir` could not be {action}. Received: {self.address}, {summary}; {fix}."
        )

    def unavailable(self, action: str, summary: str) -> BucketUnavailable:
        return BucketUnavailable(
            f"`--workdir` could not be {action}. Received: {self.address}, {summary}; run the same "
            "command again to resume."
        )
