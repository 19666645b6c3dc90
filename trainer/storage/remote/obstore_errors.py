"""What do the exceptions of obstore mean?

Its types tell a missing object and a failed precondition. The rest is in the text, which holds the
server's status and the code of its answer.
"""

import contextlib
import re
from collections.abc import Iterator

from strategies.errors import InputError, Resumable
from trainer.storage.remote.errors import Faults, PreconditionFailed

_STATUS = re.compile(r"status code: (\d{3})(?: ([\w -]+))?")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)")

_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
_NO_CREDENTIALS = {
    "AuthenticationFailed",
    "AuthorizationFailure",  # Azurite, of a wrong key.
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidToken",
    "NoAuthenticationInformation",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_CLOCK = re.compile("RequestTimeTooSkewed|Request date header too old|clock skew", re.IGNORECASE)
_REGION = re.compile("AuthorizationHeaderMalformed|PermanentRedirect|incorrectly configured region")
# Of what is done here with settings and credentials, and by the services that hand out tokens.
_IDENTITY = re.compile(
    "token file|token request|AssumeRole|Invalid Access Key|az account get-access-token|External AWS"
)
_CONNECTION = re.compile(
    "error sending request|timed out|EndpointConnectionError|ConnectTimeoutError"
)
OPENED = "opened"  # The action that reads the settings in the environment.


@contextlib.contextmanager
def translate_errors(faults: Faults, action: str, name: str = "") -> Iterator[None]:
    """Turns what obstore raises into the errors of a bucket. Arguments as in google_errors.py."""
    from obstore import exceptions

    action_on = f"{action} ({name})" if name else action
    try:
        yield
    except (InputError, Resumable, PreconditionFailed):
        raise
    except (exceptions.BaseError, OSError, ValueError) as error:
        text = str(error)
        code = found[1] if (found := _CODE.search(text)) else ""
        status = int(found[1]) if (found := _STATUS.search(text)) else 0
        summary = _summary(text)
        if code in _NO_BUCKET:
            raise faults.no_bucket() from None
        if isinstance(
            error, exceptions.PreconditionError | exceptions.AlreadyExistsError | FileNotFoundError
        ):
            raise PreconditionFailed(name) from error
        if isinstance(error, exceptions.InvalidPathError):
            raise faults.unusable(
                action_on,
                f"with an object that no run has written ({summary})",
                "remove that object, or choose another folder",
            ) from None
        if _CLOCK.search(text):
            raise faults.unusable(
                action_on, f"whose clock differs ({summary})", "set the clock of this machine"
            ) from None
        if _REGION.search(text):
            raise faults.unusable(
                action_on, f"of another region ({summary})", "set AWS_REGION to the bucket's"
            ) from None
        if status == 501:
            raise ignores_conditions(faults, summary) from None
        is_identity = _IDENTITY.search(text) and not _CONNECTION.search(text)
        if status == 401 or code in _NO_CREDENTIALS or action == OPENED or is_identity:
            raise faults.no_credentials(summary) from None
        if status == 403:
            raise faults.no_permission(action_on, summary) from None
        raise faults.unavailable(action_on, summary) from None


def ignores_conditions(faults: Faults, summary: str) -> InputError:
    return faults.unusable(
        "used",
        f"whose server takes no conditional writes ({summary})",
        "without them two runs could overwrite each other: choose another server or a folder",
    )


def _summary(text: str) -> str:
    """The server's own words where there are some, else the client's, as one short line."""
    status = found[0].removeprefix("status code: ") if (found := _STATUS.search(text)) else ""
    words = [found[1] for pattern in (_CODE, _MESSAGE) if (found := pattern.search(text))]
    own = text.partition("\n\nDebug source")[0]
    text = ": ".join([status.strip(), *words]) if status else own
    return " ".join(text.split())[:300].rstrip(" .")
