"""Compare the confidence interval of a drop below the baseline with a limit."""

from pipeline.core import units
from pipeline.verify.model_facts import CheckResult, Paired
from pipeline.verify.scoring import statistics
from pipeline.verify.scoring.metrics import METRICS


def beside(result: CheckResult, interval: tuple[float, float]) -> CheckResult:
    """The result with the interval of its value; where that contains the limit, chance may have decided."""
    return result.model_copy(update={"interval": interval})


def at(paired: Paired, confidence: float) -> Paired:
    """The comparison with its interval at another level of confidence.

    The interval of a mean is scaled from the one that was measured as that of a normal distribution would be.
    """
    if confidence == paired.confidence:
        return paired
    if paired.lost is not None and paired.gained is not None:
        low, high = statistics.interval(paired.n, paired.lost, paired.gained, confidence)
    else:
        wider = _deviations(confidence) / _deviations(paired.confidence)
        low, high = (paired.drop + wider * (end - paired.drop) for end in (paired.low, paired.high))
    return paired.model_copy(update={"low": low, "high": high, "confidence": confidence})


def ends(paired: Paired) -> tuple[float, float]:
    """The interval of how much worse the metric is: of its drop, or of its rise where lower is better."""
    return (-paired.high, -paired.low) if METRICS[paired.metric].lower_is_better else (paired.low, paired.high)


def _deviations(confidence: float) -> float:
    from statistics import NormalDist  # which loads a lot, and few checks need

    return NormalDist().inv_cdf((1 + confidence) / 2)


def within(check: str, model: str, paired: Paired, limit: float) -> CheckResult:
    """Pass or fail when the whole interval is on one side of the limit; unavailable when it contains the limit.

    The change is a drop of the metric, or a rise where lower is better. When the result is unavailable there are too
    few examples to decide, and the reason estimates how many are needed.
    """
    sign, change = (-1, "rise") if METRICS[paired.metric].lower_is_better else (1, "drop")
    worse = sign * paired.drop
    low, high = ends(paired)
    plain = not METRICS[paired.metric].share
    said = [units.number(end, 3) if plain else units.points(end, sign=False) for end in (low, high)]
    found = (
        f"the {change} is between {said[0]} and {said[1]} {'' if plain else 'points '}"
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
