"""What should be typed instead of an unknown verb or flag?

The hint is the flag of another verb, what another program's flag is called here, or the nearest spelling;
where nothing is close it points to `--help`.
"""

from trainer.cli.option_groups import OverrideOptions, TrainerArgsOptions
from trainer.cli.options import VERBS, Options, TuneOptions
from trainer.cli.synonyms import FLAG_SYNONYMS
from trainer.config import load as config_load
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, fields, short_json
from trainer.config.nearest import closest, nearest

OVERRIDE, DIMENSION = "config.", "space."
_CLUSTER_FLAGS = ("cluster", "task", "ps")


def takes_trainer_args(schema: type[Options]) -> bool:
    """Whether flags of train may follow the verb's own after `--`."""
    return issubclass(schema, TrainerArgsOptions)


def unknown_verb(word: str) -> ConfigError:
    return ConfigError(
        f"the verbs are {', '.join(VERBS)}. Received: {short_json(word)}; {_verb_hint(word)}"
    )


def not_a_flag(word: str) -> ConfigError:
    """The error for an argument that follows the verb and is not a flag."""
    hint = _verb_hint(word)
    if word.lower() in ("true", "false"):  # absl reads `--chief false` as `--chief` and a word.
        hint = f"write the value of a boolean flag after =, e.g. --chief={word.lower()}."
    return ConfigError(f"flags begin with `--`. Received: {short_json(word)}; {hint}")


def unknown_flag(typed: str, schema: type[Options]) -> ConfigError:
    """The error for an argument, as it was typed, that names no flag of the verb."""
    name, _, text = typed.partition("=")
    bare = name.lstrip("-").replace("-", "_")
    if bare.startswith(OVERRIDE) and issubclass(schema, OverrideOptions):
        return config_load.unknown_override(bare.removeprefix(OVERRIDE), text or name)
    return ConfigError(
        f"`{schema.verb}` has no such flag. Received: {short_json(name)}; {_flag_hint(bare, schema)}"
    )


def _verb_hint(word: str) -> str:
    if word in recipes.names() or word.endswith((".py", ".json")) and word.isprintable():
        return f"did you mean --config={word}?"
    close = closest(word, VERBS)
    return f"did you mean `{close}`?" if close else "`--help` explains them."


def _flag_hint(bare: str, schema: type[Options]) -> str:
    own = flag_names(schema)
    names = [bare] if bare in own else FLAG_SYNONYMS.get(bare, (bare,))
    for name in names:
        if name in own:
            return f"did you mean `--{name}`?"
    for name in names:
        if (verb := _verb_with(name)) and verb != schema.verb:
            return _hint_at_other_verb(name, bare, verb, schema)
    if " " in bare:
        return "a flag file has one --FLAG=VALUE on each line."
    close = nearest(bare, [*own, "help", "version", "flagfile"])
    return f"did you mean `--{close}`?" if close else "`--help` lists all flags."


def _hint_at_other_verb(name: str, bare: str, verb: str, schema: type[Options]) -> str:
    for_trainer = verb == "train" and takes_trainer_args(schema)
    if for_trainer and name in _CLUSTER_FLAGS:
        return f"leave it out: `{schema.verb}` creates the clusters that it trains on."
    if name == bare:
        return f"it is a flag of `{verb}`{': put it after `--`' if for_trainer else ''}."
    return f"did you mean `--{name}` {'after `--`' if for_trainer else f'of `{verb}`'}?"


def _verb_with(name: str) -> str:
    """The first verb that has a flag of this name, or ""."""
    if name.startswith(OVERRIDE):
        return "train"
    if name.startswith(DIMENSION):
        return "tune"
    return next((verb for verb, schema in VERBS.items() if name in flag_names(schema)), "")


def flag_names(schema: type[Options]) -> list[str]:
    """The flags of a verb without dashes, with those that negate one, of the space and of the config."""
    options = [*fields(schema, "--")]
    names = [field.name.removeprefix("--") for field in options]
    names += [f"no{field.name.removeprefix('--')}" for field in options if field.type is bool]
    for prefix, group in ((DIMENSION, TuneOptions), (OVERRIDE, OverrideOptions)):
        if issubclass(schema, group):
            names += [f"{prefix}{field.name}" for field in config_lib.fields()]
    return names
