"""What does it mean that a call to a bucket failed?

What a user can mend ends a run with one line that says how; what may pass is told as such.
"""

import contextlib
from collections.abc import Iterator

from strategies.errors import InputError, Resumable

OPENED = "opened"  # The client, which finds its credentials then.


class BucketError(InputError):
    """The bucket cannot be used as it is: it is not there, or not for this user."""


class Unreachable(Resumable):
    """The bucket did not answer in time, or answered that it cannot now."""


class PreconditionFailed(Exception):
    """Somebody else has written or removed the object meanwhile."""


@contextlib.contextmanager
def explained(place: object, done: str, name: str = "") -> Iterator[None]:
    """Turns what Google's client raises into the errors of this file.

    Args:
      place: the address of the folder.
      done: what the call does with it, as in "could not be `listed`".
      name: of the object that the call is about, if it is about one.
    """
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    about = f"{done} ({name})" if name else done
    try:
        yield
    except api.PreconditionFailed as error:
        raise PreconditionFailed(name) from error
    except api.NotFound as error:
        if name:  # A bucket that is not there is found by listing it, which comes first.
            raise PreconditionFailed(name) from error
        raise BucketError(
            f"`--workdir` is in a bucket that is not there. Received: {place}; make it, or correct the "
            "name."
        ) from None
    except api.Forbidden as error:
        raise BucketError(
            f"`--workdir` could not be {about}. Received: {place}, where you may not "
            f"({_in_short(error)}); have the role Storage Object User given to you."
        ) from None
    except (auth.DefaultCredentialsError, api.Unauthorized) as error:
        raise _no_credentials(place, error) from None
    except auth.RefreshError as error:
        if error.retryable:
            raise _unreachable(place, about, error) from None
        raise _no_credentials(place, error) from None
    except (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException, OSError) as error:
        raise _unreachable(place, about, error) from None
    except ValueError as error:
        if name or done != OPENED:
            raise
        raise _no_credentials(place, error) from None  # A key that is none.


def _no_credentials(place: object, error: Exception) -> BucketError:
    return BucketError(
        f"`--workdir` needs Google Cloud's credentials for {place}. Received: {_in_short(error)}; run "
        "`gcloud auth application-default login`, or give the machine a service account."
    )


def _unreachable(place: object, about: str, error: Exception) -> Unreachable:
    return Unreachable(
        f"`--workdir` could not be {about}. Received: {place}, {_in_short(error)}; run the same command "
        "again to go on."
    )


def _in_short(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
