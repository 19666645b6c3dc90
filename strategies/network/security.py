"""Which peers do this process's connections trust, and what do they encrypt?

`find` answers with a `Security`, which holds contexts of TLS 1.3. With a shared secret both sides present
the certificate that they derive from it, and accept no other. With certificates of the user's own, each
side accepts those that `--tls_ca` has signed. Without either, connections are plain and accept everyone.
"""

import contextlib
import dataclasses
import os
import ssl
from collections.abc import Iterator, Mapping

from strategies.errors import ClusterError
from strategies.network import shared_secret
from strategies.network.connection import AuthenticationError, ProtocolError, is_alert
from strategies.network.flags import ALL, AUTO, SecurityFlags

_UNKNOWN = "it does not know the secret"
_MAX_FLIGHTS = 4  # Of a handshake: two from each side.


@dataclasses.dataclass(frozen=True)
class Security:
    """How connections are secured; without contexts, not at all.

    Attributes:
      client, server: the contexts of the calling and of the called side.
      encrypt: ALL, or CONTROL for everything but the gradients.
      uses_secret: whether the certificate is derived from a shared secret.
    """

    client: ssl.SSLContext | None = None
    server: ssl.SSLContext | None = None
    encrypt: str = ALL
    uses_secret: bool = True

    @property
    def is_on(self) -> bool:
        return self.client is not None

    @property
    def encrypts_gradients(self) -> bool:
        return self.is_on and self.encrypt == ALL

    @property
    def flag(self) -> str:
        """The flag on which the trust of peers rests."""
        return shared_secret.FLAG if self.uses_secret else "--tls_ca"

    def describe(self, starts_servers: bool) -> str:
        """Who can take part and read, for people; `starts_servers`: whether TensorFlow has its own."""
        if not self.is_on:
            return "no shared secret: anyone who can connect to them can take part, and read all"
        trust = "a shared secret" if self.uses_secret else self.flag
        what = "all that they send" + ("" if self.encrypt == ALL else " but the gradients")
        rest = (
            "; TensorFlow's own connections are not secured (SECURITY.md)" if starts_servers else ""
        )
        return f"{trust} authenticates them, and TLS 1.3 encrypts {what}{rest}"

    def refusal(self, error: ssl.SSLError | None = None) -> str:
        """Why the two do not trust each other. Without an error, as only one of them uses TLS."""
        if not self.is_on:
            return "it requires a secret or certificates"
        if self.uses_secret:
            return _UNKNOWN
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {error.verify_message}"
        return "it refused this task's certificate" if error else "it has no certificate"

    def step(self, connection: ssl.SSLSocket) -> bool:
        """Continues the handshake of a connection that does not block; True once it is complete.

        Raises:
          AuthenticationError: one side does not trust the other.
          ProtocolError: the peer does not follow TLS 1.3.
          EOFError, OSError: the connection is lost.
        """
        try:
            connection.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLEOFError as error:
            raise EOFError from error
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLCertVerificationError) or is_alert(error):
                raise AuthenticationError(self.refusal(error)) from error
            if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                raise AuthenticationError(self.refusal()) from error
            raise ProtocolError from error
        return True

    def mismatch_error(self, received: str) -> ClusterError:
        """The error where two tasks do not trust each other; `received` says which."""
        if self.uses_secret:
            return shared_secret.mismatch_error(received)
        return ClusterError(
            f"`--tls_ca` must have signed the certificate of every task. Received: {received}; give "
            "every task the same --tls_ca, and a certificate that it has signed."
        )


PLAIN = Security()


def find(flags: SecurityFlags, environ: Mapping[str, str] = os.environ) -> Security:
    """The security that the flags and MUSTER_SECRET define. Certificates override the variable.

    Raises:
      ClusterError: a file cannot be used, the secret is too short, or flags are missing or too many.
    """
    encrypt = ALL if flags.encrypt == AUTO else flags.encrypt
    files = {f"--{name}": getattr(flags, name) for name in ("tls_ca", "tls_cert", "tls_key")}
    if given := [name for name, path in files.items() if path]:
        _check_complete(given, files, flags.secret_file)
        return from_files(flags.tls_ca, flags.tls_cert, flags.tls_key, encrypt)
    if secret := shared_secret.read(flags.secret_file, environ):
        return from_secret(secret, encrypt)
    if flags.encrypt != AUTO:
        raise ClusterError(
            f"`--encrypt` needs a shared secret or certificates. Received: {flags.encrypt!r} and "
            "neither; add --secret_file, or --tls_ca, --tls_cert and --tls_key."
        )
    return PLAIN


def from_secret(secret: bytes, encrypt: str = ALL) -> Security:
    """Trust in exactly those that know the secret."""
    from strategies.network import certificate  # Its package is slow to import, and rarely needed.

    key, derived = certificate.derive(secret)
    with _file_in_memory(key + derived) as path:
        client, server = _contexts(path, path, derived.decode())
    return Security(client, server, encrypt)


def from_files(ca: str, cert: str, key: str, encrypt: str = ALL) -> Security:
    """Trust in those with a certificate that is signed by one of `ca`. All three are PEM files.

    Raises:
      ClusterError: a file cannot be read or used, or `ca` has not signed `cert`.
    """
    for flag, path in (("--tls_ca", ca), ("--tls_cert", cert), ("--tls_key", key)):
        _check_readable(flag, path)
    try:
        client, server = _contexts(cert, key, "")
    except (ssl.SSLError, ValueError) as error:
        raise _file_error("--tls_cert", "and --tls_key must be PEM, and fit", cert, error) from None
    for context in (client, server):
        try:
            context.load_verify_locations(ca)
        except (ssl.SSLError, ValueError) as error:
            raise _file_error("--tls_ca", "must hold certificates as PEM", ca, error) from None
    security = Security(client, server, encrypt, uses_secret=False)
    try:
        _connect_to_itself(client, server)
    except ssl.SSLError as error:
        what = "must be signed by --tls_ca, for clients and servers"
        raise _file_error("--tls_cert", what, cert, error) from None
    return security


def _contexts(cert: str, key: str, ca_pem: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    made = []
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # A task may be reached by several names; the key counts.
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= (
            ssl.VERIFY_X509_PARTIAL_CHAIN
        )  # --tls_ca may be an intermediate one.
        context.load_cert_chain(cert, key, password="")  # Else OpenSSL asks the terminal.
        if ca_pem:
            context.load_verify_locations(cadata=ca_pem)
        made.append(context)
    client, server = made
    # A ticket would arrive after the handshake, and look like the end of an idle connection.
    server.num_tickets = 0
    return client, server


@contextlib.contextmanager
def _file_in_memory(content: bytes) -> Iterator[str]:
    """The path of a file that is on no disk and that only this process can open."""
    fd = os.memfd_create("muster-key")  # `ssl` reads keys from files only.
    try:
        os.write(fd, content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _connect_to_itself(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Raises SSLError where this task would not trust itself, so that peers need not find out."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(down, up, server_hostname="muster"),
        server.wrap_bio(up, down, server_side=True),
    ]
    for turn in range(_MAX_FLIGHTS):
        with contextlib.suppress(ssl.SSLWantReadError):
            sides[turn % 2].do_handshake()


def _check_complete(given: list[str], files: Mapping[str, str], secret_file: str) -> None:
    if missing := [name for name in files if name not in given]:
        raise ClusterError(
            "`--tls_ca`, `--tls_cert` and `--tls_key` must be set together. Received: only "
            f"{' and '.join(given)}; add {' and '.join(missing)}, or remove the rest."
        )
    if secret_file:
        raise ClusterError(
            f"`{shared_secret.FLAG}` and `--tls_ca` must not both be set. Received: {secret_file!r} "
            f"and {files['--tls_ca']!r}; remove one of them."
        )


def _check_readable(flag: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        raise _file_error(flag, "must name a file that can be read", path, error) from None


def _file_error(flag: str, rule: str, path: str, error: Exception) -> ClusterError:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", None)
    reason = reason or getattr(error, "strerror", None) or str(error)
    words = reason.lower().replace("_", " ") if isinstance(error, ssl.SSLError) else reason
    return ClusterError(
        f"`{flag}` {rule}. Received: {path!r} ({words}); correct the file or its path."
    )
