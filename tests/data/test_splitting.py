"""The cut of examples into splits."""

import numpy as np

from pipeline.data.splitting import stratified


def test_equal_examples_are_never_in_two_splits():
    x = np.random.default_rng(0).integers(0, 2, (400, 5), dtype=np.uint8)  # at most 32 different ones
    cut = stratified([row.tobytes() for row in x], np.arange(400) % 2, {"validation": 0.2, "test": 0.3}, seed=0)
    contents = [{row.tobytes() for row in x[indices]} for indices in cut.values()]
    assert all(contents)
    assert sum(map(len, contents)) == len(set.union(*contents))
    assert sorted(np.concatenate(list(cut.values()))) == list(range(400))


def test_what_belongs_together_is_never_in_two_splits():
    people = np.repeat(np.arange(40), 10)
    cut = stratified(people.tolist(), np.tile([0, 1], 200), {"validation": 0.25, "test": 0.25}, seed=3)
    of_split = [set(people[indices].tolist()) for indices in cut.values()]
    assert [len(found) for found in of_split] == [20, 10, 10]
    assert not of_split[0] & of_split[1]
    assert not of_split[1] & of_split[2]
