"""Which flags secure a process's connections? `SecurityFlags` holds them, as they were typed.

`security.py` makes a `Security` of them. They are apart from it as `--help` needs no TLS.
"""

import dataclasses

AUTO, ALL, CONTROL = "auto", "all", "control"
ENCRYPT = (AUTO, ALL, CONTROL)


@dataclasses.dataclass(frozen=True)
class SecurityFlags:
    """The flags of a command that secure its connections."""

    secret_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    encrypt: str = AUTO
