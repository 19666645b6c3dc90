"""Which inherited settings must not reach a run? Keras's own state, and proxies for peers.

`ignore` sets what decides instead, before TensorFlow and Keras are imported. Keras reads its backend and
float type from variables and from a file in the user's home, and TensorFlow's gRPC asks a proxy for the
addresses of the cluster. Downloads still use the proxy.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from types import ModuleType

_KERAS = {"KERAS_BACKEND": "tensorflow"}
_KERAS_UNSET = (
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "TF_USE_LEGACY_KERAS",
)
_HOME = "KERAS_HOME"
_KERAS_CONFIG = "keras.src.backend.config"  # Reads keras.json while it is imported.
_NO_SUCH_FOLDER = os.path.join(os.devnull, "keras")  # It can neither be read nor created.

# gRPC takes the first of these that is set; an empty one means no proxy.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_PROXY_OF_ADDRESSES = "GRPC_ADDRESS_HTTP_PROXY"

_ignored: dict[str, str] = {}


def ignore(environ: MutableMapping[str, str] = os.environ) -> None:
    """Has runs ignore Keras's variables and keras.json, and reach peers without a proxy.

    The program trains with TensorFlow in float32 and Keras's defaults: other tasks of the run, and the
    same run on another machine, must compute the same.
    """
    _ignored.clear()
    _ignored.update(_found(environ))
    environ.update(_KERAS)
    if not environ.get(_HOME, "unset"):
        del environ[_HOME]  # TensorFlow would write keras.json into the current folder.
    for name in (*_KERAS_UNSET, _PROXY_OF_ADDRESSES):
        environ.pop(name, None)
    environ[_PROXIES[0]] = ""
    if not any(isinstance(finder, _KerasConfigFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasConfigFinder())


def ignored_keras() -> list[str]:
    """Keras's variables that were set to another value, as NAME=VALUE."""
    return [f"{name}={value}" for name, value in _ignored.items() if name not in _all_proxies()]


def ignored_proxies() -> list[str]:
    """The names of variables with a proxy that gRPC would use. A value may contain a password."""
    return [name for name in _ignored if name in _all_proxies()]


def _found(environ: Mapping[str, str]) -> dict[str, str]:
    """What would have decided otherwise."""
    found = {name: environ[name] for name in _KERAS_UNSET if environ.get(name)}
    for name, value in _KERAS.items():
        if environ.get(name, value) not in (value, ""):
            found[name] = environ[name]
    if _PROXIES[0] not in environ or environ[_PROXIES[0]]:  # Otherwise gRPC asks no proxy.
        found |= {name: environ[name] for name in _all_proxies() if environ.get(name)}
    return found


def _all_proxies() -> tuple[str, ...]:
    return (*_PROXIES, _PROXY_OF_ADDRESSES)


class _KerasConfigFinder(importlib.abc.MetaPathFinder):
    """Finds Keras's config module with a loader that hides keras.json, from any import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _KERAS_CONFIG:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _KerasConfigLoader(fullname, spec.loader.path)
        return spec


class _KerasConfigLoader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        home = os.environ.get(_HOME)
        os.environ[_HOME] = _NO_SUCH_FOLDER
        try:
            super().exec_module(module)
        finally:
            del os.environ[_HOME]
            if home is not None:
                os.environ[_HOME] = home
        # Data sets and weights that recipes download are kept where Keras keeps them.
        module._KERAS_DIR = home or _default_home()  # type: ignore[attr-defined]


def _default_home() -> str:
    """As Keras finds it."""
    user = os.path.expanduser("~")
    return os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
