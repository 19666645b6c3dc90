"""Which version of a package is installed?"""

import importlib.metadata

# Builds of one and the same package; they write the same files, so that there is one of them at most.
TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-tpu")


def version(package: str) -> str | None:
    """The installed version, of `tensorflow` in whichever build; None where there is none."""
    for name in TENSORFLOW if package == "tensorflow" else (package,):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
