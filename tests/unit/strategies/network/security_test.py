"""Which flags give which security, and is each mistake one clear error?"""

import pytest

from strategies.errors import ClusterError
from strategies.network import certificate, security
from strategies.network.flags import SecurityFlags
from strategies.network.security import find
from tests.unit.strategies.network.authority import SERVER_ONLY, Authority

SECRET = b"0123456789abcdef"
ENVIRON = {"MUSTER_SECRET": SECRET.decode()}


def test_a_secret_always_gives_the_same_certificate_and_another_one_another():
    key, cert = certificate.derive(SECRET)
    assert certificate.derive(SECRET) == (key, cert)
    assert certificate.derive(SECRET + b"0") != (key, cert)
    # Tasks with other releases of the package must present the same bytes.
    assert cert.decode().splitlines() == EXPECTED.splitlines()
    assert SECRET not in key + cert


EXPECTED = """\
-----BEGIN CERTIFICATE-----
MIHiMIGVoAMCAQICAQEwBQYDK2VwMBExDzANBgNVBAMMBm11c3RlcjAgFw0wMDAx
MDEwMDAwMDBaGA85OTk5MTIzMTIzNTk1OVowETEPMA0GA1UEAwwGbXVzdGVyMCow
BQYDK2VwAyEA+76zExCAWPw96IFTP7shzJ3l+4sfJbqtwCSv7DOEdQqjEDAOMAwG
A1UdEwEB/wQCMAAwBQYDK2VwA0EACjQttBivjjvya7IIMBtNmH2pgB0Uj2RCcJnI
IKyNSXg96vQ7Hd4nyrU6xwKqftEyHrPVKI29cuZRog+ggHOnBg==
-----END CERTIFICATE-----
"""


def test_everything_is_encrypted_where_there_is_a_secret_and_nothing_otherwise():
    assert find(SecurityFlags(), {}) is security.PLAIN
    found = find(SecurityFlags(), ENVIRON)
    assert found.is_on and found.uses_secret and found.encrypts_gradients
    found = find(SecurityFlags(encrypt="control"), ENVIRON)
    assert found.is_on and not found.encrypts_gradients
    assert "encrypts all that they send but the gradients" in found.describe(False)
    assert "TensorFlow's own connections are not secured" in found.describe(True)


def test_certificates_override_the_variable(tmp_path):
    names = ("tls_ca", "tls_cert", "tls_key")
    flags = SecurityFlags(**dict(zip(names, Authority(tmp_path).files("a"), strict=True)))
    found = find(flags, ENVIRON)
    assert found.is_on and not found.uses_secret
    assert found.describe(False).startswith("--tls_ca authenticates them, and TLS 1.3 encrypts all")


def test_an_intermediate_authority_may_be_the_one_that_is_trusted(tmp_path):
    found = security.from_files(*Authority(tmp_path).files("a"))
    assert found.is_on


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"encrypt": "all"}, "`--encrypt` needs a shared secret or certificates. Received: 'all'"),
        ({"tls_ca": "{ca}"}, "Received: only --tls_ca; add --tls_cert and --tls_key, or remove"),
        ({"tls_cert": "{cert}", "tls_key": "{key}"}, "only --tls_cert and --tls_key; add --tls_ca,"),
        ({"secret_file": "{ca}"}, "must not both be set. Received: '{ca}' and '{ca}'; remove one"),
        ({"tls_ca": "{none}"}, "`--tls_ca` must name a file that can be read. Received: '{none}' (No"),
        ({"tls_key": "{none}"}, "`--tls_key` must name a file that can be read. Received: '{none}'"),
        ({"tls_ca": "{key}"}, "`--tls_ca` must hold certificates as PEM. Received: '{key}' ("),
        ({"tls_cert": "{key}"}, "`--tls_cert` and --tls_key must be PEM, and fit. Received: '{key}'"),
        ({"tls_key": "{other_key}"}, "and fit. Received: '{cert}' (key values mismatch)"),
        ({"tls_key": "{locked_key}", "tls_cert": "{locked_cert}"}, "fit. Received: '{locked_cert}'"),
        ({"tls_ca": "{other_ca}"}, "signed by --tls_ca, for clients and servers. Received: '{cert}'"),
        ({"tls_cert": "{old_cert}", "tls_key": "{old_key}"}, "(certificate has expired)"),
        ({"tls_cert": "{server_cert}", "tls_key": "{server_key}"}, "(unsuitable certificate purpose)"),
    ],
    ids=str,
)  # fmt: skip
def test_each_mistake_is_named(flags, message, tmp_path, capfd):
    authority = Authority(tmp_path)
    paths = {"none": str(tmp_path / "none")}
    made = {
        "": authority.files("a"),
        "other_": Authority(tmp_path, "other").files("o"),
        "old_": authority.files("old", days=-1),
        "server_": authority.files("server", SERVER_ONLY),
        "locked_": authority.files("locked", passphrase=b"0123"),
    }
    for kind, files in made.items():
        names = (f"{kind}ca", f"{kind}cert", f"{kind}key")
        paths |= dict(zip(names, files, strict=True))
    complete = {"tls_ca": "{ca}", "tls_cert": "{cert}", "tls_key": "{key}"}
    is_partial = "only" in message or "encrypt" in flags
    given = flags if is_partial else complete | flags
    with pytest.raises(ClusterError) as caught:
        find(SecurityFlags(**{name: text.format(**paths) for name, text in given.items()}), {})
    assert message.format(**paths) in str(caught.value)
    assert capfd.readouterr() == ("", "")  # Nobody was asked for a passphrase.
