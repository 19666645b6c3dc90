"""What do the exceptions of Google's client mean?

`translate_errors` turns them into those of errors.py, by their types.
"""

import contextlib
from collections.abc import Iterator

from trainer.storage.remote.errors import Faults, PreconditionFailed

OPENED = "opened"  # The action that creates the client, which loads its credentials then.


@contextlib.contextmanager
def translate_errors(faults: Faults, action: str, name: str = "") -> Iterator[None]:
    """Turns what Google's client raises into the errors of a bucket.

    Args:
      faults: words the errors.
      action: what the call does with the folder, as in "could not be `listed`".
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
        raise faults.no_bucket() from None
    except api.Forbidden as error:
        raise faults.no_permission(action_on, _summary(error)) from None
    except (auth.DefaultCredentialsError, api.Unauthorized) as error:
        raise faults.no_credentials(_summary(error)) from None
    except auth.RefreshError as error:
        if error.retryable:
            raise faults.unavailable(action_on, _summary(error)) from None
        raise faults.no_credentials(_summary(error)) from None
    except (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException, OSError) as error:
        raise faults.unavailable(action_on, _summary(error)) from None
    except ValueError as error:
        if name or action != OPENED:
            raise
        raise faults.no_credentials(_summary(error)) from None  # An invalid private key.


def _summary(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
