"""Does `--vary` name the variants that a person means, and is a bad one refused before any run?"""

import pytest

from strategies.errors import InputError
from trainer.cli.options import TuneOptions
from trainer.config import schema
from trainer.tune.comparison import NAME, NUMBERS, Comparison, variants
from trainer.tune.search.oracle import Suggestion

MODES = "sync.mode=gradients,parameters:20:8"
FEDERATED = f"{MODES},federated:2"
SHARES = "data.partition=random:4,dirichlet:4:0.1"


def spec(*vary, config="digits_dense", **options):
    return Comparison.of(TuneOptions(config=config, tuner="grid", **options), vary)


def made(comparison):
    """Config and flags of each variant, by name."""
    names = [variant.name for variant in comparison.variants]
    return {name: comparison._make_trial(Suggestion(name, {NAME: name})) for name in names}


def test_a_single_field_names_its_variants_by_their_values():
    found = variants([MODES])
    assert [one.name for one in found] == ["gradients", "parameters:20:8"]
    assert found[1].overrides == {
        "sync.mode": "parameters",
        "sync.every_steps": "20",
        "sync.replicas": "8",
    }


def test_several_fields_are_combined_the_last_fastest():
    names = [one.name for one in variants([MODES, SHARES])]
    assert names[:3] == [
        "mode=gradients partition=random:4",
        "mode=gradients partition=dirichlet:4:0.1",
        "mode=parameters:20:8 partition=random:4",
    ]
    assert len({*names}) == 4


def test_values_with_commas_are_separated_by_bars_and_keep_their_colons():
    found = variants(["model.hidden_units=128|256,128"])
    assert [one.overrides["model.hidden_units"] for one in found] == ["128", "256,128"]
    (one, _) = variants(["data.source=npz:a.npz,npz:b.npz"])
    assert one.overrides == {"data.source": "npz:a.npz"}


def test_numbers_set_fields_that_their_value_allows():
    known = {field.name for field in schema.fields()}
    for values in NUMBERS.values():
        assert {name for names in values.values() for name in names} <= known


def test_a_federated_run_has_the_examples_of_the_others():
    comparison = spec(FEDERATED, "data.partition=random:8", overrides={"train.epochs": "3"})
    configs = [config for config, _ in made(comparison).values()]
    assert [config.train.epochs for config in configs] == [3, 3, 12]
    assert [config.train.eval_every_epochs for config in configs] == [1, 1, 4]
    in_steps = spec("sync.mode=gradients,federated:2", "data.partition=random:8",
                    overrides={"train.steps": "3"})  # fmt: skip
    assert [config.train.epochs for config, _ in made(in_steps).values()] == [20, 20]


def test_only_asynchronous_variants_have_parameter_servers():
    vary = "sync.mode=gradients,async,async_window:7"
    flags = [flags for _, flags in made(spec(vary, workers_per_trial=2)).values()]
    assert flags == [
        ("--workers=2", "--ps=0"),
        ("--workers=2", "--ps=1"),
        ("--workers=2", "--ps=1"),
    ]


def test_other_variants_are_another_comparison():
    assert spec(MODES).settings == spec(MODES).settings
    assert spec(MODES).settings != spec(MODES.replace(":20", ":10")).settings


@pytest.mark.parametrize(
    "vary, message",
    [
        ([], "`--vary` must give at least two variants. Received: []; try --vary=sync.mode="),
        (["sync.mode=gradients"], "`--vary` must give at least two variants."),
        (["sync.mode"], 'must be a field, given once, and its different values. Received: "sync.mode";'),
        (["train.seed=1,1"], "must be a field, given once, and its different values."),
        (["train.seed=1,2", "train.seed=3,4"], "must be a field, given once, and its different values."),
        (["sync.mode=gradients:3,auto"], "`--vary` has more numbers than sync.mode=gradients takes. "
         'Received: "gradients:3"; it takes no number.'),
        (["sync.mode=async:1:2,auto"], "it takes sync.max_staleness."),
        (["sync.mod=a,b"], "the variant sync.mod=a is refused: `sync.mod` is not a config field."),
        (["sync.mode=gradients,federated:2", "data.partition=none,random:4"],
         "the variant sync.mode=federated:2 data.partition=none is refused: `data.partition` must be set "
         "with `sync.mode` federated"),
        (["train.epochs=3,4", "train.seed=1"], "`--config.train.seed` must be left out, as `--vary` sets "
         'it. Received: "7"; keep one of them.'),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(vary, message):
    with pytest.raises(InputError) as caught:
        spec(*vary, overrides={"train.seed": "7"} if "train.seed=1" in vary else {})
    assert message in str(caught.value) and "\n" not in str(caught.value)
