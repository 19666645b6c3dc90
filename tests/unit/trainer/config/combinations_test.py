"""Is each combination that makes no sense refused with its reason, by a row of the table?"""

import pytest

from trainer.config import combinations
from trainer.config.fields import ConfigError
from trainer.config.load import override, resolve
from trainer.config.schema import ExperimentConfig

AVERAGING = {"sync.mode": "parameters"}
DYNAMIC = {"sync.mode": "dynamic"}
FEDERATED = {"sync.mode": "federated", "data.partition": "random", "data.partitions": "20"}
SCHEDULE = {"optimizer.schedule": "cosine"}

# For each, overrides that make no sense, and the start of the message.
CASES = [
    (
        {"sync.replicas": "2"},
        "`sync.replicas` must be left out with `sync.mode` auto, as that mode",
    ),
    ({"model.sharding": "output=row"}, "`model.sharding` must be empty without `model.blocks`, as"),
    (
        {"model.blocks": "4", "privacy.clip_norm": "1"},
        "`model.blocks` must be 0 with `privacy.clip_norm`, as an example's gradient",
    ),
    ({"sync.every_steps": "2"}, "`sync.every_steps` must be left out with `sync.mode` auto"),
    (
        AVERAGING | {"sync.min_steps": "1"},
        "`sync.min_steps` must be left out with `sync.mode` param",
    ),
    (AVERAGING | {"sync.max_steps": "20"}, "`sync.max_steps` must be left out with"),
    (AVERAGING | {"sync.max_spread": "1"}, "`sync.max_spread` must be left out with"),
    ({"sync.slots": "average"}, "`sync.slots` must be left out with"),
    ({"sync.outer": "sgd"}, "`sync.outer` must be left out with"),
    (
        AVERAGING | {"federated.clients_per_round": "5"},
        "`federated.clients_per_round` must be left",
    ),
    (AVERAGING | {"federated.local_epochs": "5"}, "`federated.local_epochs` must be left out with"),
    (AVERAGING | {"federated.proximal": "1"}, "`federated.proximal` must be left out with"),
    (AVERAGING | {"sync.window_steps": "5"}, "`sync.window_steps` must be left out with"),
    (AVERAGING | {"sync.window_ms": "5"}, "`sync.window_ms` must be left out with"),
    (AVERAGING | {"sync.max_staleness": "5"}, "`sync.max_staleness` must be left out with"),
    ({"sync.window_steps": "5", "sync.window_ms": "5"}, "`sync.window_ms` must be 0 beside"),
    (
        AVERAGING | {"sync.shard_optimizer": "true"},
        "`sync.shard_optimizer` must be false with `sync.mode` parameters, as each replica",
    ),
    (
        {"sync.shard_optimizer": "true", "optimizer.name": "lamb"},
        "`sync.shard_optimizer` must be false with `optimizer.name` lamb, as a worker updates pieces",
    ),
    (
        {"sync.shard_optimizer": "true", "optimizer.global_clipnorm": "1"},
        "`sync.shard_optimizer` must be false with `optimizer.global_clipnorm`",
    ),
    (
        {"sync.shard_optimizer": "true", "optimizer.ema_momentum": "0.9"},
        "`sync.shard_optimizer` must be false with `optimizer.ema_momentum`",
    ),
    (
        AVERAGING | {"ps.sparse_embeddings": "true"},
        "`ps.sparse_embeddings` must be false with `sync.mode` parameters, as only parameter servers",
    ),
    (
        {"ps.sparse_embeddings": "true", "privacy.clip_norm": "1"},
        "`ps.sparse_embeddings` must be false with `privacy.clip_norm`, as noise changes every row",
    ),
    (FEDERATED | {"sync.compression": "int8"}, "`sync.compression` must be left out with"),
    (AVERAGING | {"sync.topk_share": "0.1"}, "`sync.compression` must be topk beside"),
    (
        AVERAGING | {"sync.compression": "int8", "privacy.secure_aggregation": "true"},
        "`sync.compression` must be none with",
    ),
    ({"privacy.secure_aggregation": "true"}, "`privacy.secure_aggregation` must be false with"),
    ({"privacy.homomorphic": "true"}, "`privacy.homomorphic` must be false with"),
    (
        AVERAGING | {"privacy.homomorphic": "true", "privacy.secure_aggregation": "true"},
        "`privacy.homomorphic` must be false beside",
    ),
    (AVERAGING | {"privacy.clip_norm": "1"}, "`privacy.clip_norm` must be 0 with"),
    (
        FEDERATED | {"data.resample": "balanced"},
        "`data.resample` must be none with `data.partition`",
    ),
    (
        {
            "data.resample": "balanced",
            "privacy.clip_norm": "1",
            "privacy.noise_multiplier": "1",
        },
        "`data.resample` must be none with `privacy.noise_multiplier`",
    ),
    (
        {
            "data.augment": "flip,mixup",
            "privacy.clip_norm": "1",
            "privacy.noise_multiplier": "1",
        },
        "`data.augment` must be without mixup with `privacy.noise_multiplier`",
    ),
    (
        {
            "data.class_weights": "balanced",
            "privacy.clip_norm": "1",
            "privacy.noise_multiplier": "1",
        },
        "`data.class_weights` must be given by class with `privacy.noise_multiplier`",
    ),
    (AVERAGING | {"federated.own_data": "true"}, "`federated.own_data` must be left out with"),
    (
        {
            "sync.mode": "federated",
            "data.partition": "by_feature",
            "federated.own_data": "true",
        },
        "`data.partitions` must be above 0 with `federated.own_data`, as every worker must have the same",
    ),
    (
        AVERAGING | {"sync.outer_momentum": "0.9"},
        "`sync.outer` must be sgd or nesterov beside `sync.outer_learning_rate` and "
        '`sync.outer_momentum`, as an average has neither. Received: "none"; set',
    ),
    (AVERAGING | {"sync.outer": "nesterov"}, "`sync.outer_momentum` must be above 0 with"),
    (FEDERATED | {"sync.slots": "keep"}, "`sync.slots` must be auto or reset with `sync.mode` fed"),
    (DYNAMIC | {"sync.min_steps": "3"}, "`sync.min_steps` must be `sync.every_steps` divided by a"),
    (DYNAMIC | {"sync.max_steps": "60"}, "`sync.max_steps` must be `sync.every_steps` times a"),
    (FEDERATED | SCHEDULE, "`optimizer.schedule` must be constant where `sync.slots` is reset, as"),
    (
        AVERAGING | {"sync.slots": "reset", "optimizer.warmup_steps": "5"},
        "`optimizer.warmup_steps` must be 0 where `sync.slots` is reset, as the optimizer's count of",
    ),
    (AVERAGING | {"optimizer.ema_momentum": "0.9"}, "`optimizer.ema_momentum` must be 0 with"),
    (DYNAMIC | {"train.skip_bad_batches": "1"}, "`train.skip_bad_batches` must be 0 with"),
    (
        AVERAGING | {"data.balance": "measured"},
        "`data.balance` must be equal with `sync.mode` param",
    ),
    (
        {"sync.mode": "federated"},
        "`data.partition` must be set with `sync.mode` federated, as each of its shares is a client's. "
        'Received: "none"; try --config.data.partition=random --config.data.partitions=100.',
    ),
    (
        AVERAGING | {"data.partition": "random", "data.partitions": "20"},
        "`sync.replicas` must be `data.partitions` with `sync.mode` parameters, as each replica trains "
        "on one share. Received: 4; set both to one number, or leave `data.partition` out.",
    ),
    (
        FEDERATED | {"federated.clients_per_round": "21"},
        "`federated.clients_per_round` must be at most `data.partitions` with",
    ),
]


@pytest.mark.parametrize("overrides, message", CASES, ids=[message[:40] for _, message in CASES])
def test_a_combination_is_refused_with_its_reason(overrides, message):
    with pytest.raises(ConfigError) as caught:
        override(resolve("digits_dense"), overrides)
    assert str(caught.value).startswith(message)


def test_every_row_of_the_table_refuses_something():
    def begins(row, message):
        where = row.where.partition("{")[0]
        return message.startswith(f"`{row.field}` must be {row.must} {where}"[: len(message)])

    messages = [message for _, message in CASES]
    idle = [
        row for row in combinations.REFUSED if not any(begins(row, message) for message in messages)
    ]
    assert not idle


@pytest.mark.parametrize(
    "overrides",
    [
        AVERAGING | SCHEDULE | {"sync.outer": "nesterov", "sync.outer_momentum": "0.9"},
        AVERAGING | {"sync.replicas": "20", "data.partition": "random", "data.partitions": "20"},
        DYNAMIC | {"sync.min_steps": "20", "sync.max_steps": "20"},
        FEDERATED | {"sync.outer": "sgd", "sync.outer_learning_rate": "0.5"},
        {"sync.mode": "federated", "data.partition": "by_feature"},
    ],
)
def test_what_makes_sense_is_accepted(overrides):
    assert isinstance(override(resolve("digits_dense"), overrides), ExperimentConfig)
