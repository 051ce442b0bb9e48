"""Compare the decisions of two files that were calibrated on disjoint halves of the examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.source import Examples
from pipeline.data.spec import Spec
from pipeline.verify.interpreters import litert


def decided(files: Sequence[bytes], examples: Examples, spec: Spec) -> dict[str, Any]:
    """Difference of two files' decisions and accuracy, as fractions; empty if the task has no decisions."""
    if not spec.task.decides:
        return {}
    x, y = examples.batch(np.arange(len(examples)))
    one, other = (spec.task.decisions(spec.task.rows(litert.run(file, x), spec)) for file in files)
    accuracy = [float(np.mean(decided == y)) for decided in (one, other)]
    apart = abs(accuracy[0] - accuracy[1])
    return {"decisions": float(np.mean(one != other)), "accuracy": accuracy, "accuracy_spread": apart}


def spread_of(halves: dict[str, Any]) -> str:
    """A note on the differences."""
    text = f"calibrated on either half of the examples, ranges differ by up to {halves['range']:.1%}"
    if "decisions" not in halves:
        return text
    one, other = halves["accuracy"]
    return (
        f"{text} and {halves['decisions']:.1%} of the decisions on the validation split, where accuracy is {one:.1%} "
        f"and {other:.1%}: {100 * halves['accuracy_spread']:.2f} points apart"
    )
