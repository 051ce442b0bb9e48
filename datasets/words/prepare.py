"""Make a language of 1,000 words and an untrained network that reads it: python datasets/words/prepare.py [FOLDER].

Writes words.npz and words.h5 into the folder, by default this one. Nothing is downloaded, and both are functions of the
seed alone.
"""

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np

WORDS, LENGTH, TOPICS, KEYS = 1000, 12, 4, 200  # ids with 0 for padding, ids in a sentence, labels, words of each topic
SENTENCES = 3000


def sentences(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sentences (n, LENGTH) of 6 to 12 ids, zeros behind them, and their topics (n,): three words are of the topic."""
    random = np.random.default_rng(seed)
    words = random.permutation(np.arange(1, WORDS))
    keys, rest = words[: TOPICS * KEYS].reshape(TOPICS, KEYS), words[TOPICS * KEYS :]
    topics = random.integers(0, TOPICS, SENTENCES)
    x = np.zeros((SENTENCES, LENGTH), np.int32)
    for row, topic in zip(x, topics, strict=True):
        length = random.integers(6, LENGTH + 1)
        row[:length] = random.choice(rest, length)
        row[random.permutation(length)[:3]] = random.choice(keys[topic], 3)
    return x, topics


def network():
    """An embedding, the mean over the sentence without its padding, and two dense layers."""
    import tf_keras as keras
    from tf_keras import layers

    keras.utils.set_random_seed(0)
    x = inputs = layers.Input((LENGTH,), name="words")
    x = layers.Embedding(WORDS, 16, mask_zero=True, name="embedding")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(TOPICS, activation="softmax", name="topic")(x))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    x, y = sentences()
    np.savez(folder / "words.npz", x_train=x, y_train=y)
    network().save(folder / "words.h5")
