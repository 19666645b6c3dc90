"""Examples for `two_inputs.py`. The recipe imports this module from beside it."""

import numpy as np

NUMBERS, WORDS, VOCABULARY = 5, 6, 20


def examples(count, seed):
    """Numbers and words by name, and targets that follow from the numbers."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, NUMBERS)) * 3 + 1
    words = random.integers(0, VOCABULARY, (count, WORDS))
    targets = {
        "kind": np.argmax(numbers[:, :3], axis=1),
        "value": numbers.sum(1, keepdims=True) / 10,
    }
    return {"numbers": numbers, "words": words}, targets
