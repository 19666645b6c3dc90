"""Which fields of the config say what a run learns from?

`DataConfig`: the data set or the files, their columns, the batch, and how the examples are divided.
"""

import dataclasses

from trainer.config.fields import option

CLASSIFICATION_DATASETS = ("digits", "mnist", "dense_100")
REGRESSION_DATASETS = ("linear_100", "relu_regression")
PARTITIONS = tuple("none sequential random by_feature kmeans dbscan dirichlet shards".split())
# Another name of a field in overrides, and of one of its values.
ALIASES = {"data.distribution": ("data.partition", {"algorithm": "kmeans"})}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which examples are read, and how many per step."""

    name: str = option(
        "digits", "name of the data set", choices=CLASSIFICATION_DATASETS + REGRESSION_DATASETS
    )
    source: str = option(
        "",
        "files to read instead of a named data set, as KIND:WHAT, e.g. npz:data.npz, "
        "csv:train.csv,test.csv or images:FOLDER; docs/data.md lists the kinds",
        since=2,
    )
    features: str = option(
        "", "columns of `source` to learn from, e.g. age,income; empty: all but the target", since=2
    )
    target: str = option(
        "", "column of `source` to predict; empty: the one called y, label or target", since=2
    )
    features_as: str = option(
        "auto",
        "matrix: put columns of numbers side by side; columns: give them by name, to a recipe's own "
        "model; auto: a matrix of single numbers, else one column as it is, or several by name",
        choices=("auto", "matrix", "columns"),
        since=2,
    )
    pad_to: int = option(
        0,
        "fill lists of `source` with zeros up to this length; 0: they have one length",
        least=0,
        since=2,
    )
    test_fraction: float = option(
        0.2,
        "fraction of the examples to test on, where `source` has no examples for that",
        above=0,
        below=1,
        since=2,
    )
    split_seed: int = option(
        0, "decides which examples `test_fraction` and `folds` set aside", least=0, since=2
    )
    dir: str = option(
        "", "folder with the data, or for what is prepared from `source`; empty: the usual folder"
    )
    global_batch_size: int = option(64, "examples per step, over all replicas", least=1)
    balance: str = option(
        "equal",
        "which worker computes how many of a batch's blocks: equal: as many as the others; weighted: by "
        "`worker_speeds`; measured: by its speed so far, at each report; the weights stay the same",
        choices=("equal", "weighted", "measured"),
        since=2,
    )
    worker_speeds: tuple[float, ...] = option(
        (),
        "speed of each task that trains, in their order, for `balance=weighted`; 2,1: the first is twice "
        "as fast",
        above=0,
        below=1e9,
        since=2,
    )
    placement: str = option(
        "auto",
        "resident: keep all examples on the device; stream: read them through tf.data; auto: resident if "
        "they fit. Those that are augmented are always sent with each loop",
        choices=("auto", "resident", "stream"),
    )
    shuffle: bool = option(True, "use a new order of the examples in each epoch")
    train_examples: int = option(0, "train on the first N examples only; 0: all", least=0)
    validation_fraction: float = option(
        0.0,
        "fraction of the training examples to set aside, by `train.seed`, and to evaluate on during the "
        "run; the test examples are then evaluated at its end only",
        least=0,
        below=1,
        since=2,
    )
    folds: int = option(
        0,
        "divide the training examples into N folds, by `split_seed`, and test on one of them instead of "
        "the test examples, as `cross_validate` does; 0: do not",
        least=0,
        since=2,
    )
    fold: int = option(0, "the fold to test on, from 0 to `folds` - 1", least=0, since=2)
    stratified: bool = option(False, "give each fold the same share of every class", since=2)
    class_weights: str = option(
        "",
        "factors of the training loss by class, as in 3:10,5:2.5; balanced: inverse to how often each "
        "class occurs; empty: 1 for all",
        since=2,
    )
    example_weights: str = option(
        "", "column of `source` with the factor of each example's training loss", since=2
    )
    resample: str = option(
        "none",
        "balanced: train on each class equally often, so on examples of rare classes several times in an "
        "epoch, and on only some of the frequent ones",
        choices=("none", "balanced"),
        since=2,
    )
    augment: str = option(
        "",
        "changes of training images, anew in each epoch, as in shift:2,rotate:10,flip,crop:0.8,cutout:8,"
        "mixup:0.2; docs/augmentation.md says what each does",
        since=2,
    )
    download_timeout_s: float = option(
        300.0, "seconds after which a download fails", above=0, below=1e6
    )
    partition: str = option(
        "none",
        "how the training examples are divided into shares: sequential: in their order; random; "
        "by_feature: by `partition_by`; kmeans, dbscan: by similarity; dirichlet: classes in other "
        "proportions in each share; shards: few classes in each share; docs/partition.md",
        choices=PARTITIONS,
        since=2,
    )
    partitions: int = option(
        0,
        "number of shares of `partition`; 0: as many as by_feature finds classes or ranges",
        least=0,
        since=2,
    )
    partition_by: str = option(
        "",
        "what by_feature divides by: label, a column, a column's ranges as in age:20,40,60, or "
        "pixels.mean:quantiles for shares of one size; empty: label",
        since=2,
    )
    partition_alpha: float = option(
        0.5,
        "concentration of dirichlet: the smaller, the more the shares' classes differ",
        above=0,
        below=1e6,
        since=2,
    )
    partition_components: int = option(
        0,
        "principal components that kmeans and dbscan compare; data of no more numbers are compared as "
        "they are; 0: 50 for kmeans, 10 for dbscan",
        least=0,
        since=2,
    )
