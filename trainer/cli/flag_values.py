"""How does absl read the flags of a verb?

`read` makes an `absl.flags.FlagValues` from the verb's dataclass, and from the config's for `--config.X`
and `--space.X`, and parses the arguments with it. absl's habits hold: `--flag=value`, `--flag value`,
`-flag=value`, `--chief` and `--nochief`, the last of several wins, `--flagfile=FILE`, `--undefok=NAMES`.
absl's exceptions become ConfigErrors, which name the fix.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from trainer.cli.hints import DIMENSION, OVERRIDE, not_a_flag, unknown_flag
from trainer.cli.option_groups import OverrideOptions
from trainer.cli.options import Options, TuneOptions
from trainer.cli.tuners import SEARCHABLE_FLAGS
from trainer.config import schema as config_lib
from trainer.config.data_schema import ALIASES
from trainer.config.fields import ConfigError, fields, short_json
from trainer.config.kinds import TEXTS

_MAX_NAME_CHARACTERS = 200


class Flags(NamedTuple):
    """What was given: options as values by flag, overrides and dimensions as typed by field.

    `args` has each flag as --NAME=VALUE, in the order in which they were typed; `words`
    are the other arguments, of a verb that takes some.
    """

    options: dict[str, Any]
    overrides: dict[str, str]
    dimensions: dict[str, str]
    args: tuple[str, ...]
    words: tuple[str, ...] = ()


def with_flagfiles(args: Sequence[str]) -> list[str]:
    """The arguments with the lines of each --flagfile in its place.

    Raises:
      ConfigError: a file is not named or cannot be read.
    """
    try:
        return flags.FlagValues().read_flags_from_files([*args])
    except flags.Error as error:
        cause = error.__context__
        if not isinstance(cause, OSError):
            raise _needs_value("--flagfile") from None
        raise _unreadable(cause.filename, cause.strerror or "it cannot be read") from None
    except ValueError:  # Not UTF-8, or a path with a null byte.
        given = [arg for arg in args if "flagfile" in arg]
        raise _unreadable(" ".join(given), "it is not UTF-8 text") from None


def read(args: Sequence[str], schema: type[Options]) -> Flags:
    """The flags of a verb in `args`, whose flag files `with_flagfiles` has already read.

    Raises:
      ConfigError: a flag is unknown, or a value is missing or invalid, or there are other arguments.
    """
    typed: list[str] = []
    known = _define(schema, typed)
    for arg in args:
        # absl looks for a similar flag by a recursion of the name's length.
        if arg.startswith("-") and len(name := arg.partition("=")[0]) > _MAX_NAME_CHARACTERS:
            raise unknown_flag(name, schema)
    try:
        words = known([schema.verb, *args])[1:]
    except ConfigError:
        raise
    except flags.UnrecognizedFlagError as error:
        raise unknown_flag(error.flagvalue, schema) from None
    except flags.Error:  # The last argument is a flag without its value.
        raise _needs_value(args[-1]) from None
    except ValueError as error:  # --noFLAG=VALUE
        name, _, value = str(error).removesuffix(" does not take an argument").partition("=")
        raise ConfigError(
            f"`{name}` takes no value. Received: {short_json(value)}; write {name} alone, or "
            f"--{name.lstrip('-').removeprefix('no')}=VALUE."
        ) from None
    if words and not hasattr(schema, "words"):
        raise not_a_flag(words[0])
    given: dict[str, Any] = {name: known[name].value for name in known if known[name].present}
    return Flags(
        {f"--{name}": value for name, value in given.items() if "." not in name},
        _under(OVERRIDE, given),
        _under(DIMENSION, given),
        tuple(typed),
        tuple(words),
    )


class _Flag(flags.Flag):
    """An absl flag that reads its value with `convert`, and appends itself to `typed`.

    A value that is a tuple of texts is added to those of earlier flags of the name.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        kind: Any,
        convert: Callable[[str], Any],
        typed: list[str],
    ):
        # No default: the dataclass has it, and an absent flag is simply not `present`.
        super().__init__(flags.ArgumentParser(), None, name, None, doc, boolean=kind is bool)
        self._convert, self._typed = convert, typed
        self._is_repeated, self._texts = kind == TEXTS, ()

    def parse(self, argument: str) -> None:
        if argument.startswith("--"):  # absl would take `--workdir --devices=2` for a folder.
            raise _needs_value(f"--{self.name}", argument)
        value = self._convert(argument)
        if self._is_repeated:
            value = self._texts = (*self._texts, *value)
        self.value = value
        self.present += 1
        self._typed.append(f"--{self.name}={argument}")


def _define(schema: type[Options], typed: list[str]) -> flags.FlagValues:
    """The absl flags of a verb."""
    known = flags.FlagValues()
    known.set_gnu_getopt(hasattr(schema, "words"))  # Flags may follow other arguments.

    def define(name: str, doc: str, kind: Any, convert: Callable[[str], Any] = str) -> None:
        known[name] = _Flag(name, doc, kind, convert, typed)

    for option in fields(schema, "--"):
        define(option.name.removeprefix("--"), option.doc, option.type, option.parse)
    if issubclass(schema, OverrideOptions):
        # As typed: `trainer.config.load` converts and checks them.
        for field in config_lib.fields():
            define(f"{OVERRIDE}{field.name}", field.doc, bool if field.type is bool else str)
        for alias, (name, _) in ALIASES.items():
            define(f"{OVERRIDE}{alias}", f"the same as {name}", str)
    if issubclass(schema, TuneOptions):
        names = [field.name for field in config_lib.fields() if field.name != "name"]
        for name in [*names, *SEARCHABLE_FLAGS]:
            define(f"{DIMENSION}{name.removeprefix('--')}", f"values of {name} to try", str)
    return known


def _under(head: str, given: Mapping[str, str]) -> dict[str, str]:
    """The values of the flags whose names begin with `head`, without it."""
    return {name.removeprefix(head): text for name, text in given.items() if name.startswith(head)}


def _needs_value(name: str, received: str = "") -> ConfigError:
    shown, found = short_json(name)[1:-1], short_json(received) if received else "none"
    return ConfigError(f"`{shown}` needs a value. Received: {found}; write {shown}=VALUE.")


def _unreadable(path: str, reason: str) -> ConfigError:
    return ConfigError(
        "`--flagfile` must be a text file with one --FLAG=VALUE on each line. Received: "
        f"{short_json(path)}, but {reason}; correct the path."
    )
