"""Does every import run down the list of rooms, and does every file answer one question?

The list is the program's structure: a room may import from itself and from those below it. Where this
test fails, move what is shared to a lower room, or pass a value instead.
"""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from strategies.traits import TRAITS
from tests.paths import ROOT

# From the top down. `version` is trainer/__init__.py; `recipe`, `health` and `sweep` are public names.
ROOMS = """
    configs sweep recipe health __main__
    commands tune task launch export reporting estimate training metrics model cli data storage config
    process order version
    strategies
""".split()
# Below each other within strategies/, from the top down; what is not listed is on the floor above all.
STRATEGIES = """
    create for_strategy tpu parameter_server apart sharded_multi_worker multi_worker_mirrored mesh
    multi_worker mirrored replicated peers compiled_loop block_calls runtime held_state state variables
    weight_pieces choose traits rendezvous collectives sync keyed_noise network tensorflow_import
    devices cluster inherited packages errors
""".split()
MAX_LINES = 300


def _files(*tops: str) -> list[Path]:
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_module(path): path for path in _files("configs", "strategies", "trainer")}


def _imports(path: Path) -> Iterator[str]:
    """The modules of this program that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole name"
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                if whole in MODULES or module in MODULES:
                    yield whole if whole in MODULES else module


def _room(module: str) -> str:
    top, _, rest = module.partition(".")
    if top == "trainer":
        return rest.partition(".")[0] or "version"
    return top


def _floor(module: str) -> str:
    """The part of strategies/ that a module is in."""
    parts = module.split(".")
    return "for_strategy" if parts[-1] == "for_strategy" else ".".join(parts[1:2])


ARROWS = sorted({(name, other) for name, path in MODULES.items() for other in _imports(path)})


def test_there_are_arrows_to_check():
    assert len(ARROWS) > 300
    assert ("trainer.commands.train", "trainer.task.run") in ARROWS


def test_every_room_is_in_the_list():
    assert {_room(module) for module in MODULES} <= {*ROOMS, "configs", "strategies"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_import_between_rooms_runs_down_the_list(room):
    upward = [
        f"{name} imports {other}"
        for name, other in ARROWS
        if _room(name) == room and ROOMS.index(_room(other)) < ROOMS.index(room)
    ]
    assert not upward


def test_within_strategies_every_import_runs_down_too():
    upward = [
        f"{name} imports {other}"
        for name, other in ARROWS
        if name.startswith("strategies.") and other.startswith("strategies.")
        if STRATEGIES.index(_floor(other)) < STRATEGIES.index(_floor(name))
    ]
    assert not upward


def test_strategies_never_import_the_trainer():
    assert not [arrow for arrow in ARROWS if arrow[0].startswith("strategies.")
                and not arrow[1].startswith("strategies.")]  # fmt: skip


def test_recipes_import_only_the_public_module_and_each_other():
    recipes = [arrow for arrow in ARROWS if arrow[0].startswith("configs.")]
    assert recipes
    assert not [
        arrow for arrow in recipes if not arrow[1].startswith(("trainer.recipe", "configs."))
    ]


def test_what_a_run_is_made_of_knows_no_config():
    """`trainer.training.assemble` turns a config into values once; what takes them needs none."""
    training = "checkpoint_evaluator early_stopping evaluation loop nonfinite parts resume".split()
    training += ["run_end", "time_limit"]
    parts = {f"trainer.training.{name}" for name in training} | {
        "trainer.data.dataset",
        "trainer.data.input_pipeline",
        "trainer.estimate.tpu_program",
        "trainer.estimate.tpu_report",
        "trainer.model.losses",
        "trainer.model.step",
    }
    parts |= {name for name in MODULES if _room(name) in ("metrics", "order")}
    assert parts <= MODULES.keys()
    assert ("trainer.task.session", "trainer.training.assemble") in ARROWS
    config = {name for name in MODULES if _room(name) in ("config", "recipe")}
    config |= {"trainer.training.assemble", "trainer.training.batch_split"}
    assert not [arrow for arrow in ARROWS if arrow[0] in parts and arrow[1] in config]


def test_no_files_import_each_other_in_a_circle():
    below = {name: {other for one, other in ARROWS if one == name} for name in MODULES}
    while free := [name for name, others in below.items() if not others & below.keys()]:
        for name in free:
            del below[name]
    assert not below, f"these import each other: {', '.join(sorted(below))}"


def test_no_file_of_the_program_is_longer_than_it_may_be():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _files("strategies", "trainer")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, "move the second question that it answers to a file of its own"


def test_every_module_starts_with_its_question_and_a_sentence_with_the_answer():
    lacking = []
    for name, path in MODULES.items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.name != "__init__.py" and not name.startswith("configs."):
            question, _, answer = docstring.partition("\n\n")
            if (
                "?" not in question
                or len(answer.split()) + len(question.partition("?")[2].split()) < 4
            ):
                lacking.append(name)
    assert not lacking


def test_every_unit_test_of_the_program_mirrors_a_file_or_a_room_of_it():
    """tests/unit/trainer/x/y_test.py is about trainer/x/y.py, or about trainer/x where there is no y."""
    folders = {str(path.parent.relative_to(ROOT)) for path in MODULES.values()}
    astray = [
        str(path.relative_to(ROOT))
        for path in _files("tests/unit/strategies", "tests/unit/trainer")
        if str(path.parent.relative_to(ROOT / "tests" / "unit")) not in folders
    ]
    assert not astray


def test_the_trainer_compares_no_strategys_name():
    """What differs between strategies is in `strategies/traits.py`, or in their runtimes."""
    comparisons = []
    for path in _files("trainer"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                operands = [node.left, *node.comparators]
            elif isinstance(node, ast.MatchValue):
                operands = [node.value]
            else:
                continue
            parts = [part for operand in operands for part in ast.walk(operand)]
            if any(isinstance(part, ast.Constant) and part.value in TRAITS for part in parts):
                comparisons.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not comparisons


def test_the_list_of_rooms_names_each_once():
    assert not [one for one, more in itertools.groupby(sorted(ROOMS)) if len([*more]) > 1]


def test_commands_print_through_the_console():
    """Which survives a reader that is gone, a full disk and a screen without some characters."""
    prints = [
        f"{name}, line {node.lineno}"
        for name, path in MODULES.items()
        if name.startswith("trainer.commands.")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not prints
