"""Whether a sentence praises or complains: words, an embedding, a mask and a GRU.

    python -m trainer --config=text_gru

The sentences are made from a fixed seed, so that no network is needed; "not" turns the word after it into
its opposite, so that the order of the words matters. To learn from a file of your own, delete `get_data`
and write the words as numbers from 1: --config.data.source=jsonl:FILE --config.data.pad_to=LENGTH fills
the sentences with zeros, which the mask leaves out.

Expect a test accuracy of 1.0 (4 epochs). No article describes this net.
"""

import keras
import numpy as np

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig

GOOD = "good great lovely fine warm".split()
BAD = "bad awful ugly poor cold".split()
OTHER = "the a film was and it so day seemed very".split()
WORDS = ["", *GOOD, *BAD, *OTHER, "not"]  # 0 fills the end of a sentence.
LENGTH = 12


def get_config():
    return ExperimentConfig(
        data=DataConfig(global_batch_size=64),
        optimizer=OptimizerConfig("adam", learning_rate=0.01),
        train=TrainConfig(epochs=4),
    )


def _sentence(rng):
    """Words as numbers, and whether they praise."""
    praises = bool(rng.integers(2))
    words = [rng.choice(OTHER) for _ in range(rng.integers(3, LENGTH - 2))]
    is_negated = bool(rng.integers(2))
    said = rng.choice(GOOD if praises != is_negated else BAD)
    place = rng.integers(len(words))
    words[place:place] = ["not", said] if is_negated else [said]
    return [WORDS.index(word) for word in words], int(praises)


def get_data(config):
    rng = np.random.default_rng(0)
    sentences, labels = zip(*(_sentence(rng) for _ in range(3000)), strict=True)
    tokens = np.zeros((len(sentences), LENGTH), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        row[: len(sentence)] = sentence
    cut = len(tokens) * 5 // 6
    classes = np.array(labels)
    return {"train": (tokens[:cut], classes[:cut]), "test": (tokens[cut:], classes[cut:])}


def get_model(config, data):
    layers = keras.layers
    vocabulary = 1 + int(np.max(data["train"][0]))
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(vocabulary, 16, mask_zero=True),
            layers.GRU(24),
            layers.Dense(2),
        ]
    )
