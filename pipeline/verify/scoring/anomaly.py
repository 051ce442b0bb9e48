"""Metrics of anomaly detection. N is the number of examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tasks.task import Truth
from pipeline.verify.scoring.scoring import Shares, Verdicts
from pipeline.verify.scoring.statistics import Floats, Labels, MetricValues, comparable, not_finite

MAX_FPR = 0.1  # maximum false positive rate of the partial AUC, as in DCASE 2020 task 2 and MLPerf Tiny


def auc_shares(scores: Floats, y: Labels) -> NDArray[np.float64]:
    """Each example's share of the AUC of scores (N,): (N,) values whose mean is the AUC. NaN when there is no AUC.

    The placement of an anomaly is the share of normal examples with a lower score, where equal scores count half. The
    placement of a normal example is the share of anomalies with a higher score. The mean placement of either kind is
    the AUC. For n examples, m of them of the example's kind, its share is AUC + n / m * (placement - AUC). The variance
    of the shares is, to first order, that of DeLong et al. 1988, "Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves".
    """
    comparable(scores, y)
    shares = np.full(len(y), np.nan)
    odd, usual = scores[y == 1], scores[y == 0]
    if not (len(odd) and len(usual)) or not_finite(scores):
        return shares
    of_odd, of_usual = _below(odd, usual), 1 - _below(usual, odd)
    area = of_odd.mean()
    shares[y == 1] = area + len(y) / len(odd) * (of_odd - area)
    shares[y == 0] = area + len(y) / len(usual) * (of_usual - area)
    return shares


def _below(scores: Floats, others: Floats) -> NDArray[np.float64]:
    """For each score, the share of `others` below it; equal scores count half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(others))


def anomaly(scores: Floats, y: Labels, max_fpr: float = MAX_FPR) -> MetricValues:
    """AUC and pAUC of scores (N,), where higher is more anomalous, against labels (N,): 0 normal, 1 anomalous.

    pAUC is the area under the ROC curve up to a false positive rate of `max_fpr`, scaled so that random scores give 0.5
    and perfect ones 1 (McClish 1989). It is scikit-learn's roc_auc_score with max_fpr, as in the evaluation of DCASE
    2020 task 2 (Koizumi et al. 2020) and of MLPerf Tiny. Both of those average over machines: call this function once
    for each machine.
    """
    from sklearn.metrics import roc_auc_score

    comparable(scores, y)
    lacking = [name for label, name in enumerate(("normal", "anomalous")) if not np.any(y == label)]
    reason = f"the split has no {lacking[0]} example" if lacking else not_finite(scores)
    if reason:
        return MetricValues({}, {"auc": reason, "pauc": reason})
    auc, pauc = roc_auc_score(y, scores), roc_auc_score(y, scores, max_fpr=max_fpr)
    return MetricValues({"auc": float(auc), "pauc": float(pauc)}, {})


class AnomalyScoring(Shares):
    """Scoring of anomaly detection. An example's score is its mean squared reconstruction error, in real units.

    This is the score of MLPerf Tiny (github.com/mlcommons/tiny, anomaly_detection) and of DCASE 2020 task 2 (Koizumi et
    al. 2020).
    """

    metric = "auc"

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return anomaly(_errors(rows, x), y)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return auc_shares(_errors(rows, x), y)

    def fit(self, rows: Floats, x: Floats, y: Truth) -> float | None:
        """1 - reconstruction error / variance, of normal examples alone: all that splits other than test hold."""
        usual = x[y == 0].reshape(int(np.sum(y == 0)), -1).astype(np.float64)
        constant = float(np.var(usual, axis=0).mean()) if len(usual) else 0.0
        return 1 - float(_errors(rows, x)[y == 0].mean()) / constant if constant else None


def _errors(rows: Floats, x: Floats) -> NDArray[np.float64]:
    """Mean squared reconstruction error (N,) in float64."""
    return np.asarray(np.mean((rows.astype(np.float64) - x.reshape(len(x), -1)) ** 2, axis=1))
