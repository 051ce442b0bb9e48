"""The cut of arrays into splits."""

import numpy as np

from pipeline.data.sources.arrays import stratified


def test_equal_examples_are_never_in_two_splits():
    x = np.random.default_rng(0).integers(0, 2, (400, 5), dtype=np.uint8)  # at most 32 different ones
    cut = stratified(x, np.arange(400) % 2, {"validation": 0.2, "test": 0.3}, seed=0)
    contents = [{row.tobytes() for row in x[indices]} for indices in cut.values()]
    assert all(contents)
    assert sum(map(len, contents)) == len(set.union(*contents))
    assert sorted(np.concatenate(list(cut.values()))) == list(range(400))
