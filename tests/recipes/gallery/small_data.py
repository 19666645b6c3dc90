"""Small made-up data for the recipes beside this file, each with a rule that a net can learn."""

import numpy as np

TRAIN, TEST = 256, 64


def splits(make):
    """{"train": ..., "test": ...} from a function of a generator and a number of examples."""
    return {
        name: make(np.random.default_rng(seed), count)
        for name, seed, count in (("train", 1, TRAIN), ("test", 2, TEST))
    }


def pictures(random, count):
    """uint8 [n, 12, 12, 1] with a bright row or column on noise, and which of both it is."""
    kinds, places = random.integers(0, 2, count), random.integers(1, 11, count)
    images = random.integers(0, 120, (count, 12, 12, 1)).astype(np.uint8)
    for image, kind, place in zip(images, kinds, places, strict=True):
        if kind:
            image[place] = 240
        else:
            image[:, place] = 240
    return images, kinds


def waves(random, count):
    """float32 [n, 40, 1] of a fast, a slow or no wave under noise, and which of them."""
    kinds = random.integers(0, 3, count)
    phase = random.uniform(0, 2 * np.pi, (count, 1))
    time = np.arange(40) * np.array([0.0, 0.4, 1.2])[kinds][:, None]
    series = np.sin(time + phase) * (kinds > 0)[:, None] + random.normal(0, 0.3, (count, 40))
    return series[..., None].astype(np.float32), kinds


def sentences(random, count, length=10, vocabulary=20):
    """int32 [n, 10] words, of which 0 pads the end, and whether word 1 comes before word 2."""
    words = random.integers(3, vocabulary, (count, length))
    ends = random.integers(6, length + 1, count)
    words[np.arange(length) >= ends[:, None]] = 0
    places = np.array([random.choice(6, 2, replace=False) for _ in range(count)])
    rows = np.arange(count)
    words[rows, places[:, 0]], words[rows, places[:, 1]] = 1, 2
    return words.astype(np.int32), (places[:, 0] < places[:, 1]).astype(np.int32)


def people(random, count):
    """Columns of numbers and of text by name, and whether a rule of three of them holds."""
    columns = {
        "age": random.integers(18, 80, (count, 1)).astype(np.float32),
        "hours": random.normal(40, 10, (count, 1)).astype(np.float32),
        "job": random.choice(["clerk", "nurse", "pilot", "smith"], (count, 1)),
        "town": random.choice(["north", "south", "other"], (count, 1)),
    }
    flies = columns["job"] == "pilot"
    holds = (columns["age"] > 45) ^ flies | (columns["town"] == "south") & (columns["hours"] > 45)
    return columns, holds.astype(np.int32)


def ratings(random, count, users=30, films=20):
    """int32 [n, 2] pairs (user, film), and float32 [n, 1]: how much the user likes the film."""
    tastes = np.random.default_rng(7)
    of_users, of_films = tastes.normal(size=(users, 2)), tastes.normal(size=(films, 2))
    pairs = np.stack([random.integers(0, users, count), random.integers(0, films, count)], 1)
    liking = np.sum(of_users[pairs[:, 0]] * of_films[pairs[:, 1]], 1, keepdims=True)
    return pairs.astype(np.int32), (1 / (1 + np.exp(-liking))).astype(np.float32)
