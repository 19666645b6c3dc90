"""What does it mean that a call to a bucket failed?

`translate_errors` turns the exceptions of Google's client into three: the user must fix something, the
bucket is unavailable for now, or the object has changed.
"""

import contextlib
from collections.abc import Iterator

from strategies.errors import InputError, Resumable

OPENED = "opened"  # The action that creates the client, which loads its credentials then.


class BucketError(InputError):
    """The bucket cannot be used as it is: it does not exist, or this user has no access."""


class BucketUnavailable(Resumable):
    """The bucket did not answer in time, or answered that it is unavailable."""


class PreconditionFailed(Exception):
    """Another process has written or removed the object."""


@contextlib.contextmanager
def translate_errors(address: object, action: str, name: str = "") -> Iterator[None]:
    """Turns what Google's client raises into the errors of this file.

    Args:
      address: the folder in the bucket.
      action: what the call does with it, as in "could not be `listed`".
      name: the object that the call is about, if it is about one.
    """
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    action_on = f"{action} ({name})" if name else action
    try:
        yield
    except api.PreconditionFailed as error:
        raise PreconditionFailed(name) from error
    except api.NotFound as error:
        if name:  # A missing bucket is found when it is listed, which comes first.
            raise PreconditionFailed(name) from error
        raise BucketError(
            f"`--workdir` must be in a bucket that exists. Received: {address}; create the bucket, or "
            "correct its name."
        ) from None
    except api.Forbidden as error:
        raise BucketError(
            f"`--workdir` could not be {action_on}. Received: {address}, without permission "
            f"({_summary(error)}); ask for the role Storage Object User."
        ) from None
    except (auth.DefaultCredentialsError, api.Unauthorized) as error:
        raise _no_credentials(address, error) from None
    except auth.RefreshError as error:
        if error.retryable:
            raise _unavailable(address, action_on, error) from None
        raise _no_credentials(address, error) from None
    except (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException, OSError) as error:
        raise _unavailable(address, action_on, error) from None
    except ValueError as error:
        if name or action != OPENED:
            raise
        raise _no_credentials(address, error) from None  # An invalid private key.


def _no_credentials(address: object, error: Exception) -> BucketError:
    return BucketError(
        f"`--workdir` needs Google Cloud's credentials for {address}. Received: {_summary(error)}; run "
        "`gcloud auth application-default login`, or give the machine a service account."
    )


def _unavailable(address: object, action_on: str, error: Exception) -> BucketUnavailable:
    return BucketUnavailable(
        f"`--workdir` could not be {action_on}. Received: {address}, {_summary(error)}; run the same "
        "command again to resume."
    )


def _summary(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
