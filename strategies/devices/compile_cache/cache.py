"""How do TensorFlow and the kept programs come together?

`find` decides whether this process keeps programs. `CompileCache.turn_on` sets TensorFlow's flags.
`in_use` loads the kept programs, and then keeps those that were compiled.

TensorFlow's own cache is given a folder in memory (`ram://`), never one on a disk: it ends the run if a
file cannot be written or parsed, and executes whatever it can parse. Of 30 flips of one bit in a file, 11
ended the process with an error and 2 with a signal, and 6 changed its results.
"""

import contextlib
import dataclasses
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping, MutableMapping

from absl import logging

from strategies.devices import gpus
from strategies.devices.compile_cache import folder, store
from strategies.errors import ClusterError, os_reason

OFF = "off"
_FLAGS, _LEVEL = "TF_XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL"
_MEMORY = "ram://muster-compiled"
_OWN_FLAGS = (
    f"--tf_xla_persistent_cache_device_types=CPU --tf_xla_persistent_cache_directory={_MEMORY}"
)
_ENTRY = ".pb"
_KEEP_EVERY_S = 1.0
_LAST_WRITE_S = 30.0  # On a slow disk. The run does not wait longer for it.


@dataclasses.dataclass(frozen=True)
class CompileCache:
    """Where this process keeps compiled programs, or why it keeps none.

    Attributes:
      root: the folder; None if the cache is off.
      platform: the name of what compiled code depends on.
      reason: why it is off.
      is_problem: whether the reason is something that the user may want to fix.
      named: the flag that it was found for.
    """

    root: pathlib.Path | None = None
    platform: str = ""
    reason: str = ""
    is_problem: bool = False
    named: str = ""

    def __str__(self) -> str:
        if self.root is None:
            return f"off: {self.reason}"
        programs, size = store.count(self.root)
        return f"{self.root}: {programs} programs, {size / 1e6:.1f} MB"

    def turn_on(self, environ: MutableMapping[str, str] = os.environ) -> "CompileCache":
        """Creates the folder and sets TensorFlow's flags. Returns the cache that is used from now on.

        Call it before TensorFlow lists its devices: that is when it reads the flags.

        Raises:
          ClusterError: the folder that the flag names cannot be created.
        """
        if self.root is None:
            if self.is_problem:
                logging.warning(
                    "compiled programs are not kept: %s; --compile_cache=DIR names another folder",
                    self.reason,
                )
            return self
        try:
            folder.create(self.root)
        except folder.RefusedError as error:
            return _refused(self.named, error).turn_on(environ)
        environ[_FLAGS] = f"{_given(environ)} {_OWN_FLAGS}".strip()
        hide_load_errors(environ)
        return self

    @contextlib.contextmanager
    def in_use(self, scope: str) -> Iterator[None]:
        """Loads the kept programs of `scope`, and keeps those that the body compiled.

        Call it after `turn_on`, once TensorFlow may be imported. No error of the folder leaves it.

        Args:
          scope: any text that runs with the same programs share, as the net's layers.
        """
        if self.root is None:
            yield
            return
        programs = store.Store(self.root, self.platform, scope)
        keeper = _Keeper(self.root, programs, _load(programs))
        try:
            yield
        finally:
            keeper.stop()
            try:
                store.prune(self.root)
            except OSError as error:
                _warn_not_kept(self.root, error)


class _Keeper:
    """Keeps the programs that this process compiles, within about a second.

    A task that is killed is started again, and then needs them.
    """

    def __init__(self, root: pathlib.Path, programs: store.Store, kept: set[str]):
        self._root, self._programs, self._kept = root, programs, kept
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compile-cache", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Keeps the last ones."""
        self._is_over.set()
        self._thread.join(_LAST_WRITE_S)

    def _run(self) -> None:
        try:
            is_last = False
            while not is_last:
                is_last = self._is_over.wait(_KEEP_EVERY_S)
                _keep(self._programs, self._kept)
        except OSError as error:
            _warn_not_kept(self._root, error)


def _warn_not_kept(root: pathlib.Path, error: OSError) -> None:
    logging.warning(
        "compiled programs are not kept: %s cannot be written (%s)", root, os_reason(error)
    )


def find(named: str, environ: Mapping[str, str] = os.environ) -> CompileCache:
    """The cache of the flag `--compile_cache`, for a process that trains on the CPU. Creates nothing.

    Args:
      named: a folder, "off", or "" for this user's own.
      environ: the environment.

    Raises:
      ClusterError: the named folder cannot be used.
    """
    if reason := _why_off(named, environ):
        return CompileCache(reason=reason)
    try:
        root = pathlib.Path(named).absolute() if named else folder.default(environ)
        folder.check(root)
        platform = folder.platform({**environ, _FLAGS: _given(environ)})
    except folder.RefusedError as error:
        return _refused(named, error)
    return CompileCache(root, platform, named=named)


def hide_load_errors(environ: MutableMapping[str, str]) -> None:
    """Hides the errors that XLA prints for every program that it loads. Call it before the import.

    XLA takes tuning preferences for features that the processor lacks (openxla/xla#44565), and its parser
    first tries to read each file as text. It has no setting for either, and its log none but the level.
    What ends a run is raised as an exception too. A level that the user has set is kept.
    """
    if environ.get(_LEVEL) == "2":  # That of this program.
        environ[_LEVEL] = "3"


def _why_off(named: str, environ: Mapping[str, str]) -> str:
    given = _given(environ)
    if named == OFF:
        return "--compile_cache=off"
    if gpus.visible(environ):
        return "programs for GPUs are not kept"
    if "tf_xla_persistent_cache_directory" in given:
        return f"{_FLAGS} names another cache"
    for name, value in ((_FLAGS, given), ("XLA_FLAGS", environ.get("XLA_FLAGS", ""))):
        if value and not value.startswith("-"):
            return f"{name} names a file, whose flags may change"
    return ""


def _refused(named: str, error: folder.RefusedError) -> CompileCache:
    if named:
        raise ClusterError(
            "`--compile_cache` must be a folder of yours that nobody else can write to, or `off`: "
            f"programs in it are executed. Received: {named!r}; {error}."
        ) from None
    return CompileCache(reason=str(error), is_problem=True)


def _given(environ: Mapping[str, str]) -> str:
    """The flags without those that this program has added, here or in a parent process."""
    return environ.get(_FLAGS, "").replace(_OWN_FLAGS, "").strip()


def _load(programs: store.Store) -> set[str]:
    from tensorflow.io import gfile

    loaded = set()
    for name, content in programs.read():
        with gfile.GFile(f"{_MEMORY}/{name}", "wb") as file:
            file.write(content)
        loaded.add(name)
    return loaded


def _keep(programs: store.Store, kept: set[str]) -> None:
    """Writes the programs whose names are not yet in `kept`, and adds these."""
    from tensorflow.io import gfile

    names = gfile.listdir(_MEMORY) if gfile.exists(_MEMORY) else []
    for name in sorted(set(names) - kept):
        if name.endswith(_ENTRY):  # Not one that TensorFlow is still writing.
            with gfile.GFile(f"{_MEMORY}/{name}", "rb") as file:
                programs.write(name, file.read())
            kept.add(name)
