"""How examples are divided into splits: by shares of every label, and what belongs together stays together."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from pipeline.core.settings import Portion, Settings


class Fractions(Settings):
    """Fractions of the training examples that become the splits which the source does not provide itself."""

    validation: Portion = 0.1
    """Fraction for the validation split, used for early stopping and learning curves."""
    calibration: Portion = 0.1
    """Fraction for the calibration split, used only for the converter's calibration."""
    test: Portion = 0.2
    """Fraction for the test split, used only by verification."""

    @model_validator(mode="after")
    def _leave_some(self) -> "Fractions":
        if self.validation + self.calibration + self.test >= 1:
            raise ValueError("validation, calibration and test must leave something to train on: a sum below 1")
        return self


def stratified(
    keys: Sequence[Hashable], y: NDArray[Any], shares: Mapping[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Split positions 0..N-1 at random into `train` and the named shares of every stratum.

    keys    N keys; examples of one key get into the same split, such as equal examples, or those of one person
    y       stratum (N,) of each example; a key counts for the stratum of its first example
    shares  split name -> fraction of the keys of each stratum
    """
    first: dict[Hashable, int] = {}
    leader = np.array([first.setdefault(key, i) for i, key in enumerate(keys)])
    leaders = np.array([*first.values()])
    owner = np.zeros(len(keys), np.int64)  # 0 for train, i + 1 for the i-th share; valid at leaders
    random = np.random.default_rng(seed)
    for label in sorted(set(y.tolist())):
        members = random.permutation(leaders[y[leaders] == label])
        start = 0
        for i, share in enumerate(shares.values()):
            stop = start + round(share * len(members))
            owner[members[start:stop]] = i + 1
            start = stop
    of_example = owner[leader]
    return {name: np.flatnonzero(of_example == i) for i, name in enumerate(("train", *shares))}
