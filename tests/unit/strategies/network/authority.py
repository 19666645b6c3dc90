"""How does a test get certificates? From an `Authority` of its own, as files."""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_ONLY = [ExtendedKeyUsageOID.SERVER_AUTH]
BOTH = [*SERVER_ONLY, ExtendedKeyUsageOID.CLIENT_AUTH]


def _pem(key: Ed25519PrivateKey, passphrase: bytes = b"") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


class Authority:
    """Signs certificates. `ca` is the path of its own."""

    def __init__(self, folder: pathlib.Path, name: str = "authority"):
        self._folder = folder
        self._key = Ed25519PrivateKey.generate()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = str(folder / f"{name}.pem")
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self._write(pathlib.Path(self.ca), self._name, self._key, [(basic, True)], 1)

    def files(self, name: str, usages=BOTH, days: int = 1, passphrase: bytes = b""):
        """The paths of the authority's certificate, of a new one, and of its key."""
        key = Ed25519PrivateKey.generate()
        cert, key_file = self._folder / f"{name}-cert.pem", self._folder / f"{name}-key.pem"
        key_file.write_bytes(_pem(key, passphrase))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(cert, subject, key, [(x509.ExtendedKeyUsage(usages), False)], days)
        return self.ca, str(cert), str(key_file)

    def _write(self, path, subject, key, extensions, days: int) -> None:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 9 * day)
            .not_valid_after(now + days * day)
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        signed = builder.sign(self._key, None)
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
