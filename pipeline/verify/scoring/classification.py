"""Metrics of classification. N is the number of examples, K the number of classes."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tasks.task import TASKS, Truth
from pipeline.verify.model_facts import ClassFacts, Paired
from pipeline.verify.scoring import statistics
from pipeline.verify.scoring.scoring import Scoring, Verdicts
from pipeline.verify.scoring.statistics import CONFIDENCE, Floats, Labels, MetricValues, comparable, not_finite

TOP = 5
BINS = 15  # bins of the calibration error, as in Guo et al. 2017
Kind = Literal["probabilities", "logits"]


class Decided(NamedTuple):
    """Results of `decisions`.

    confusion  (K, K) counts: rows are true labels, columns decisions
    """

    metrics: dict[str, float]
    per_class: tuple[ClassFacts, ...]
    confusion: tuple[tuple[int, ...], ...]


class Classified(NamedTuple):
    """Results of `classification`.

    scores     how the scores were interpreted
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

        accuracy           share of right decisions; the decision is the class with the highest score, the first of
                           equal ones
        top5_accuracy      share of examples whose class is among the 5 highest scores; only when K > 5
        balanced_accuracy  mean recall of the classes (same as scikit-learn's)
        precision_macro    mean over the classes that have examples; a class that is never predicted counts as 0
        recall_macro       the same for recall: equal to balanced_accuracy
        f1_macro           the same for F1
        worst_recall       the lowest recall of a class that has examples
        auc_macro          mean over the classes of the area under the ROC curve, one class against the rest
        log_loss           mean of -ln(probability of the true class), see `log_loss`
        ece                expected calibration error, see `calibration_error`

    labels: names of the classes; classes without a name get their number. step: the scale of a quantized output.
    """
    comparable(scores, y)
    classes = scores.shape[1]
    decided = decisions(scores.argmax(axis=1), y, [*labels, *map(str, range(len(labels), classes))])
    top = {"top5_accuracy": float(np.mean(rank(scores, y) < TOP))} if classes > TOP else {}
    chances, missing = _of_probabilities(scores, y, decided.per_class, step)
    metrics = {"accuracy": decided.metrics["accuracy"], **top, **decided.metrics, **chances}
    return Classified(metrics, missing, decided.per_class, decided.confusion, kind(scores))


def decisions(decided: Labels, y: Labels, labels: Sequence[str]) -> Decided:
    """Metrics of decisions (N,) against true labels y (N,), both from 0 to K-1. labels: names of the K classes."""
    per_class = _per_class(y, decided, labels)
    metrics = {"accuracy": float(np.mean(decided == y)), **_means(per_class)}
    return Decided(metrics, per_class, _confusion(y, decided, range(len(labels))))


def kind(scores: Floats) -> Kind:
    """Kind of scores (N, K): probabilities when all are within 0..1, otherwise logits."""
    return "probabilities" if np.all((scores >= 0) & (scores <= 1 + 1e-6)) else "logits"  # float softmax can exceed 1


def probabilities(scores: Floats) -> NDArray[np.float64]:
    """Turn finite scores (N, K) into probabilities whose rows sum to 1.

    Logits go through softmax. Probabilities are divided by their sum, because quantization changes it: int8 rounds each
    value by up to 1/512. In a row of zeros all classes are equally likely.
    """
    weights = scores.astype(np.float64)
    if kind(scores) == "logits":
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights[~weights.any(axis=1)] = 1
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def rank(scores: Floats, y: Labels) -> Labels:
    """Rank of the true class (N,), 0 for the highest score. Of equal scores the lower class is first, as in argmax."""
    true = np.take_along_axis(scores, y[:, np.newaxis], axis=1)  # (N, 1)
    earlier = np.arange(scores.shape[1]) < y[:, np.newaxis]  # (N, K)
    ahead: NDArray[np.bool_] = (scores > true) | ((scores == true) & earlier)
    return np.asarray(ahead.sum(axis=1))


def log_loss(p: Floats, y: Labels, step: float | None = None) -> float:
    """Mean of -ln(p[i, y[i]]) over probabilities (N, K), in nats.

    A probability of zero would give an infinite loss. It is replaced by half a step of a quantized output (1/512 for
    int8, where anything less rounds to zero), or by float32 epsilon, as in scikit-learn for float32. The loss of one
    example of an int8 model is therefore at most 6.2.
    """
    least = step / 2 if step else float(np.finfo(np.float32).eps)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], least)).mean())


def calibration_error(p: Floats, y: Labels, bins: int = BINS) -> float:
    """Expected calibration error (ECE) of probabilities (N, K): mean distance between confidence and accuracy.

    Confidence is the probability of the decision. Examples are grouped by confidence into bins of equal width,
    (i/bins, (i+1)/bins]. The ECE is the mean of |accuracy - mean confidence| of the bins, weighted by their number of
    examples: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3, with their 15 bins.
    """
    confidence = p.max(axis=1)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=(p.argmax(axis=1) == y) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


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


def _of_probabilities(scores: Floats, y: Labels, per_class: Sequence[ClassFacts], step: float | None) -> MetricValues:
    if reason := not_finite(scores):
        return MetricValues({}, dict.fromkeys(("auc_macro", "log_loss", "ece"), reason))
    p = probabilities(scores)
    metrics = {"log_loss": log_loss(p, y, step), "ece": calibration_error(p, y)}
    lacking = [facts.label for facts in per_class if not facts.support]
    if lacking:
        more = f" and of {len(lacking) - 1} other classes" if len(lacking) > 1 else ""
        return MetricValues(metrics, {"auc_macro": f"the split has no example of {lacking[0]}{more}"})
    return MetricValues({"auc_macro": _auc(p, y)} | metrics, {})


def _auc(p: Floats, y: Labels) -> float:
    """Macro AUC of probabilities (N, K); every class has examples. When K is 2, both classes have the same AUC."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else roc_auc_score(y, p, multi_class="ovr"))


def _confusion(y: Labels, decisions: Labels, classes: range) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    return tuple(map(tuple, confusion_matrix(y, decisions, labels=np.array(classes)).tolist()))


class ClassificationScoring(Scoring):
    """Scoring of classification. Verdicts are decisions (N,), each right or wrong."""

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return classification(rows, y, labels, step)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return np.asarray(TASKS["classification"].decisions(rows))

    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        return float(np.mean(verdicts == y))

    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        return statistics.paired(base == y, own == y, y, labels, confidence)

    def fit(self, rows: Floats, x: Floats, y: Truth) -> float | None:
        return self.main(self.verdicts(rows, x, y), y)
