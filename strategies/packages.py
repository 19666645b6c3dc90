"""Which version of a package is installed?"""

import importlib.metadata

# Builds of one and the same package; they write the same files, so that there is one of them at most.
TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu")


def version(package: str) -> str | None:
    """The installed version, of `tensorflow` in whichever build; None where there is none."""
    builds = TENSORFLOW if package == "tensorflow" else (package,)
    return next(filter(None, map(exact_version, builds)), None)


def exact_version(package: str) -> str | None:
    """The installed version of this very build; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
