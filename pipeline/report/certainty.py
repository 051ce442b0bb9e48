"""How sure a figure is, as text behind it."""

from pipeline.core import units
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.scoring import proportion


def of_model(metric: str, model: ModelFacts) -> str:
    """The interval of a model's accuracy, such as `` (95 % interval 95.7 to 98.9 %)``; "" for other metrics."""
    if metric != "accuracy" or not model.examples:
        return ""
    low, high = proportion.interval(model.metrics[metric], model.examples)
    return f" (95 % interval {units.points(low, 1, sign=False)} to {units.percent(high)})"


def of_check(check: CheckResult) -> str:
    """The interval of a check's value, such as `` (95 % interval 95.7 % to 98.9 %)``; "" if none is known."""
    if check.interval is None:
        return ""
    low, high = (units.measure(end, check.unit) for end in check.interval)
    return f" (95 % interval {low.removesuffix(' points')} to {high})"
