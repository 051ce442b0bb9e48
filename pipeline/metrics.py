"""How good a model's outputs are, and whether they are worse than another's on the same examples. No TensorFlow.

N is the number of examples, K of classes. All metrics but those of `facts.PLAIN` are shares, 0..1.
"""

from collections.abc import Sequence
from math import ceil, exp, lgamma, log
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Fault, InputError
from pipeline.facts import ClassDrop, ClassFacts, MetricName, Paired

TOP = 5
BINS = 15  # of the calibration error, as in Guo et al. 2017
MAX_FPR = 0.1  # of the partial AUC, as in DCASE 2020 task 2 and MLPerf Tiny
CONFIDENCE = 0.95
RESAMPLES = 10_000
MEAN_RESAMPLES = 2_000  # of the examples themselves, which takes N times as long

Floats = NDArray[np.floating]
Labels = NDArray[np.int64]
Right = NDArray[np.bool_]
Kind = Literal["probabilities", "logits"]


class Measured(NamedTuple):
    """Metrics by name, and for those that could not be measured the reason."""

    metrics: dict[str, float]
    missing: dict[str, str]


class Decided(NamedTuple):
    """What `decisions` found.

    confusion  (K, K) counts: rows are true labels, columns decisions
    """

    metrics: dict[str, float]
    per_class: tuple[ClassFacts, ...]
    confusion: tuple[tuple[int, ...], ...]


class Classified(NamedTuple):
    """What `classification` found.

    scores     what the scores were taken for
    confusion  (K, K) counts: rows are true labels, columns decisions
    """

    metrics: dict[str, float]
    missing: dict[str, str]
    per_class: tuple[ClassFacts, ...]
    confusion: tuple[tuple[int, ...], ...]
    scores: Kind


def classification(scores: Floats, y: Labels, labels: Sequence[str] = (), step: float | None = None) -> Classified:
    """Metrics of scores (N, K), K >= 2, against labels (N,) from 0 to K-1.

    ::

        accuracy           share of right decisions: the highest score, the first of equal ones
        top5_accuracy      share of examples whose class is among the 5 highest scores; only where K > 5
        balanced_accuracy  mean recall of the classes, so that each counts the same (as scikit-learn's)
        precision_macro    mean over the classes that have examples, each counting the same, 0 for one that is never
        recall_macro       predicted; recall_macro is balanced_accuracy under its other name
        f1_macro
        worst_recall       the lowest recall of a class that has examples
        auc_macro          mean over the classes of the area under the ROC curve, one class against the rest
        log_loss           mean of -ln(probability of the true class), see `log_loss`
        ece                expected calibration error, see `calibration_error`

    labels: names of the classes; their numbers where it has none. step: the scale of a quantized output.
    """
    _comparable(scores, y)
    classes = scores.shape[1]
    decided = decisions(scores.argmax(axis=1), y, [*labels, *map(str, range(len(labels), classes))])
    top = {"top5_accuracy": float(np.mean(rank(scores, y) < TOP))} if classes > TOP else {}
    chances, missing = _of_probabilities(scores, y, decided.per_class, step)
    metrics = {"accuracy": decided.metrics["accuracy"], **top, **decided.metrics, **chances}
    return Classified(metrics, missing, decided.per_class, decided.confusion, kind(scores))


def decisions(decided: Labels, y: Labels, labels: Sequence[str]) -> Decided:
    """What the decisions (N,) alone tell against the labels (N,), both from 0 to K-1; labels: the K classes' names."""
    per_class = _per_class(y, decided, labels)
    metrics = {"accuracy": float(np.mean(decided == y)), **_means(per_class)}
    return Decided(metrics, per_class, _confusion(y, decided, range(len(labels))))


def regression(predicted: Floats, y: Floats) -> Measured:
    """MAE, RMSE (both in the unit of y) and R2 of predictions (N,) or (N, M) against values of the same shape.

    R2 = 1 - sum of squared errors / sum of squared distances from the mean, averaged over the M outputs (scikit-learn's
    r2_score). It is missing where a value never changes: nothing is there to be explained.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    _comparable(predicted, y)
    metrics = {"mae": float(mean_absolute_error(y, predicted)), "rmse": float(root_mean_squared_error(y, predicted))}
    if np.any(np.ptp(y, axis=0) == 0):
        return Measured(metrics, {"r2": "the true values are all the same"})
    return Measured(metrics | {"r2": float(r2_score(y, predicted))}, {})


def auc_shares(scores: Floats, y: Labels) -> NDArray[np.float64]:
    """What each example adds to the AUC of scores (N,): (N,) figures whose mean it is; NaN where it can't be measured.

    An anomaly's placement is the share of normal examples with a lower score, equal ones counting half, and the AUC is
    the mean of the placements; so for normal examples, the other way round. With n examples of m of one kind, that of
    an example is AUC + n / m * (placement - AUC). Their variance is that of DeLong et al. 1988, "Comparing the Areas
    under Two or More Correlated Receiver Operating Characteristic Curves", to the first order.
    """
    _comparable(scores, y)
    shares = np.full(len(y), np.nan)
    odd, usual = scores[y == 1], scores[y == 0]
    if not (len(odd) and len(usual)) or _not_finite(scores):
        return shares
    of_odd, of_usual = _below(odd, usual), 1 - _below(usual, odd)
    area = of_odd.mean()
    shares[y == 1] = area + len(y) / len(odd) * (of_odd - area)
    shares[y == 0] = area + len(y) / len(usual) * (of_usual - area)
    return shares


def _below(scores: Floats, others: Floats) -> NDArray[np.float64]:
    """Share of the others that each score is above; equal ones count half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(others))


def anomaly(scores: Floats, y: Labels, max_fpr: float = MAX_FPR) -> Measured:
    """AUC and pAUC of scores (N,), higher is more anomalous, against labels (N,), 0 normal and 1 anomalous.

    pAUC is the area where at most `max_fpr` of the normal examples raise an alarm, scaled so that guessing gives 0.5
    and perfection 1 (McClish 1989): scikit-learn's roc_auc_score with max_fpr, as in the evaluation of DCASE 2020
    task 2 (Koizumi et al. 2020) and of MLPerf Tiny. Those average over machines: call this for each.
    """
    from sklearn.metrics import roc_auc_score

    _comparable(scores, y)
    lacking = [name for label, name in enumerate(("normal", "anomalous")) if not np.any(y == label)]
    reason = f"the split has no {lacking[0]} example" if lacking else _not_finite(scores)
    if reason:
        return Measured({}, {"auc": reason, "pauc": reason})
    auc, pauc = roc_auc_score(y, scores), roc_auc_score(y, scores, max_fpr=max_fpr)
    return Measured({"auc": float(auc), "pauc": float(pauc)}, {})


def kind(scores: Floats) -> Kind:
    """What scores (N, K) are: probabilities when every one is within 0..1, otherwise logits."""
    return "probabilities" if np.all((scores >= 0) & (scores <= 1 + 1e-6)) else "logits"  # float softmax can pass 1


def probabilities(scores: Floats) -> NDArray[np.float64]:
    """Rows that sum to 1 from finite scores (N, K).

    Logits go through softmax. Probabilities are divided by their sum, which quantization moves off 1: int8 rounds each
    of them by up to 1/512. A row that was rounded to nothing but zeros says nothing, so its classes are equally likely.
    """
    weights = scores.astype(np.float64)
    if kind(scores) == "logits":
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights[~weights.any(axis=1)] = 1
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def rank(scores: Floats, y: Labels) -> Labels:
    """How many classes stand before the true one, (N,). Of equal scores the lower class comes first, as in argmax."""
    true = np.take_along_axis(scores, y[:, np.newaxis], axis=1)  # (N, 1)
    earlier = np.arange(scores.shape[1]) < y[:, np.newaxis]  # (N, K)
    ahead: NDArray[np.bool_] = (scores > true) | ((scores == true) & earlier)
    return np.asarray(ahead.sum(axis=1))


def log_loss(p: Floats, y: Labels, step: float | None = None) -> float:
    """Mean of -ln(p[i, y[i]]) over probabilities (N, K), in nats.

    A zero is taken as half a step of the quantized output (1/512 for int8: what is less rounds to zero), or as float32
    epsilon where the output is not quantized, as scikit-learn does with float32. Without that one zero is an infinite
    loss; with it an int8 model can lose no more than 6.2 an example.
    """
    least = step / 2 if step else float(np.finfo(np.float32).eps)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], least)).mean())


def calibration_error(p: Floats, y: Labels, bins: int = BINS) -> float:
    """Expected calibration error of probabilities (N, K): how far confidence is from being right.

    Examples fall by the probability of their decision into bins of equal width, (i/bins, (i+1)/bins]; the distance of a
    bin's accuracy from its mean confidence is averaged by the bins' examples. Guo et al. 2017, "On Calibration of
    Modern Neural Networks", equation 3, with their 15 bins.
    """
    confidence = p.max(axis=1)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=(p.argmax(axis=1) == y) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def paired(
    base_right: Right, right: Right, y: Labels, labels: Sequence[str] = (),
    confidence: float = CONFIDENCE, seed: int = 0,
) -> Paired:  # fmt: skip
    """Compare two models by which of the same N examples each gets right: (N,) booleans, and the labels (N,).

    labels: names of the classes; their numbers where it has none.
    """
    _comparable(base_right, right)
    lost, gained = int(np.sum(base_right & ~right)), int(np.sum(~base_right & right))
    low, high = interval(len(y), lost, gained, confidence, seed)
    return Paired(
        n=len(y),
        lost=lost,
        gained=gained,
        mcnemar_p=mcnemar(lost, gained),
        drop=(lost - gained) / len(y),
        low=low,
        high=high,
        confidence=confidence,
        worst=_worst(base_right & ~right, ~base_right & right, y, labels),
    )


def paired_means(
    metric: MetricName, base: Floats, own: Floats, confidence: float = CONFIDENCE, seed: int = 0
) -> Paired:
    """Compare two models by what each of the same N examples adds to a metric that is the mean of it: (N,) each.

    The interval is the percentile bootstrap's of the mean difference, examples drawn with replacement.
    """
    _comparable(base, own)
    difference = base - own
    random, n = np.random.default_rng(seed), len(difference)
    means = [difference[random.integers(0, n, n)].mean() for _ in range(MEAN_RESAMPLES)]
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2))
    drop = float(difference.mean())
    return Paired(metric=metric, n=n, drop=drop, low=float(low), high=float(high), confidence=confidence, worst=None)


def mcnemar(lost: int, gained: int) -> float:
    """p-value of McNemar's exact two-sided test (McNemar 1947): the binomial that statsmodels' `mcnemar` computes.

    Were both models equally good, each of the n = lost + gained flips would be a coin's toss:
    p = 2 P(Binomial(n, 1/2) <= min(lost, gained)), at most 1.
    """
    n = lost + gained
    tosses = lgamma(n + 1) - n * log(2)
    below = sum(exp(tosses - lgamma(k + 1) - lgamma(n - k + 1)) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * below)


def interval(
    n: int, lost: int, gained: int, confidence: float = CONFIDENCE, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of the drop (lost - gained) / n; both ends are shares.

    Each example is lost, gained or neither, so resampling n of them is one draw from a multinomial. From few flips, or
    none, that takes chance for certainty: meant to hold a drop of 1 point on 50 examples in 95 % of all samples, it
    does in 39 %. So one lost and one gained example are added to those seen, as in Bonett and Price 2012, "Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired data", and both ends move out by
    half an example, because a count moves in steps. Tried in 162 settings (50 to 5000 examples, drops of 0.3 to 2
    points, confidence 80 to 95 %) it holds the true drop as often as meant or more, and lies below it, where a gate
    passes by luck, in at most 1.23 times the samples meant: 2.9 % instead of 2.5 at a confidence of 95 %.
    """
    shares = np.array([lost + 1, gained + 1, n - lost - gained]) / (n + 2)
    draws = np.random.default_rng(seed).multinomial(n, shares, resamples)  # (resamples, 3)
    low, high = np.quantile(draws[:, 0] - draws[:, 1], ((1 - confidence) / 2, (1 + confidence) / 2))
    return max(-1.0, float(low - 0.5) / n), min(1.0, float(high + 0.5) / n)


def examples_needed(n: int, drop: float, low: float, high: float, limit: float) -> int | None:
    """About how many examples would put the interval on one side of the limit, were the drop to stay what it is.

    An interval narrows with the root of the examples. Two digits; None when the drop is the limit itself.
    """
    if drop == limit:
        return None
    needed = n * ((high - drop if drop < limit else drop - low) / (limit - drop)) ** 2
    unit = 10.0 ** max(0, len(str(int(needed))) - 2)
    return int(ceil(needed / unit) * unit)


def _comparable(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if not len(b) or len(a) != len(b):
        rule = "a metric needs at least one example, and a label for each"
        raise InputError(Fault(rule, received=f"{len(a)} results, {len(b)} labels"))


def _not_finite(scores: Floats) -> str:
    """Why scores (N, ...) can't be compared; "" when they can."""
    broken = len(scores) - int(np.isfinite(scores).reshape(len(scores), -1).all(axis=1).sum())
    return f"the model gives NaN or infinity for {broken} of {len(scores)} examples" if broken else ""


def _per_class(y: Labels, decisions: Labels, names: Sequence[str]) -> tuple[ClassFacts, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(y, decisions, labels=np.arange(len(names)), zero_division=np.nan)
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return tuple(
        ClassFacts(label=name, precision=_known(p), recall=_known(r), f1=_known(f), support=n)
        for name, p, r, f, n in rows
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _means(per_class: Sequence[ClassFacts]) -> dict[str, float]:
    rows = [(facts.precision or 0.0, facts.recall or 0.0, facts.f1 or 0.0) for facts in per_class if facts.support]
    precision, recall, f1 = np.mean(rows, axis=0).tolist()
    return {
        "balanced_accuracy": recall, "precision_macro": precision, "recall_macro": recall, "f1_macro": f1,
        "worst_recall": min(row[1] for row in rows),
    }  # fmt: skip


def _of_probabilities(scores: Floats, y: Labels, per_class: Sequence[ClassFacts], step: float | None) -> Measured:
    if reason := _not_finite(scores):
        return Measured({}, dict.fromkeys(("auc_macro", "log_loss", "ece"), reason))
    p = probabilities(scores)
    metrics = {"log_loss": log_loss(p, y, step), "ece": calibration_error(p, y)}
    lacking = [facts.label for facts in per_class if not facts.support]
    if lacking:
        more = f" and of {len(lacking) - 1} other classes" if len(lacking) > 1 else ""
        return Measured(metrics, {"auc_macro": f"the split has no example of {lacking[0]}{more}"})
    return Measured({"auc_macro": _auc(p, y)} | metrics, {})


def _auc(p: Floats, y: Labels) -> float:
    """Of probabilities (N, K) with examples of every class. Both classes of two have the same area."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else roc_auc_score(y, p, multi_class="ovr"))


def _confusion(y: Labels, decisions: Labels, classes: range) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    return tuple(map(tuple, confusion_matrix(y, decisions, labels=np.array(classes)).tolist()))


def _worst(lost: Right, gained: Right, y: Labels, labels: Sequence[str]) -> ClassDrop | None:
    """The class with the largest drop, the first of equal ones. lost, gained, y: (N,)."""
    examples = np.bincount(y)
    of_class = [np.bincount(y[flips], minlength=len(examples)) for flips in (lost, gained)]
    drops = (of_class[0] - of_class[1]) / np.maximum(examples, 1)
    worst = int(drops.argmax())
    if drops[worst] <= 0:
        return None
    return ClassDrop(
        label=labels[worst] if worst < len(labels) else str(worst),
        examples=int(examples[worst]),
        lost=int(of_class[0][worst]),
        gained=int(of_class[1][worst]),
        drop=float(drops[worst]),
    )
