"""Compare the confidence interval of a drop below the baseline with a limit."""

from pipeline.core import units
from pipeline.verify.model_facts import CheckResult, Paired
from pipeline.verify.scoring import statistics
from pipeline.verify.scoring.metrics import METRICS


def within(check: str, model: str, paired: Paired, limit: float) -> CheckResult:
    """Pass or fail when the whole interval is on one side of the limit; unavailable when it contains the limit.

    The change is a drop of the metric, or a rise where lower is better. When the result is unavailable there are too
    few examples to decide, and the reason estimates how many are needed.
    """
    sign, change = (-1, "rise") if METRICS[paired.metric].lower_is_better else (1, "drop")
    worse = sign * paired.drop
    low, high = sorted((sign * paired.low, sign * paired.high))
    plain = not METRICS[paired.metric].share
    ends = [units.number(end, 3) if plain else units.points(end, sign=False) for end in (low, high)]
    found = (
        f"the {change} is between {ends[0]} and {ends[1]} {'' if plain else 'points '}"
        f"with {units.number(paired.confidence * 100)} % confidence"
    )
    result = CheckResult(
        check=check, model=model, status="unavailable", what=f"{change} of {paired.metric}", bound="at most",
        limit=limit, unit="text" if plain else "points",
    )  # fmt: skip
    if low <= limit < high:
        needed = statistics.examples_needed(paired.n, worse, low, high, limit)
        hint = f"; about {units.whole(needed)} would" if needed else ""
        return result.model_copy(update={"why": f"{units.whole(paired.n)} examples can't tell: {found}{hint}"})
    return result.model_copy(update={"status": "pass" if high <= limit else "fail", "value": worse, "why": found})
