"""Which certificate do all tasks derive from their shared secret?

`derive` makes an Ed25519 key from the secret by HKDF (RFC 5869) and a certificate that this key signs
itself. Both are functions of the secret alone, so every task has the same, to the byte.
"""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

_PURPOSE = b"muster: the key of all tasks, version 1"
_NAME = "muster"
# All of the time there is: the clocks of machines differ, and the secret does not expire.
_FIRST = datetime.datetime(2000, 1, 1)
_LAST = datetime.datetime(9999, 12, 31, 23, 59, 59)  # RFC 5280's date for no expiration.


def derive(secret: bytes) -> tuple[bytes, bytes]:
    """The private key and the certificate, both as PEM."""
    seed = HKDF(hashes.SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FIRST)
        .not_valid_after(_LAST)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(pem)
