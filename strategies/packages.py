"""Which version of a package is installed?

`version` reads it from the package's metadata, without importing it.
"""

import importlib.metadata

# Builds of the same package. They install the same files, so only one of them can be present.
TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu")


def version(package: str) -> str | None:
    """The installed version, for `tensorflow` that of any of its builds; None if not installed."""
    builds = TENSORFLOW if package == "tensorflow" else (package,)
    return next(filter(None, map(exact_version, builds)), None)


def exact_version(package: str) -> str | None:
    """The installed version of exactly this build; None if not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
