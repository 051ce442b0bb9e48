"""How well anomalies are told from normal examples. N is the number of examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tasks.task import Truth
from pipeline.verify.scoring.scoring import Shares, Verdicts
from pipeline.verify.scoring.statistics import Floats, Labels, MetricValues, comparable, not_finite

MAX_FPR = 0.1  # of the partial AUC, as in DCASE 2020 task 2 and MLPerf Tiny


def auc_shares(scores: Floats, y: Labels) -> NDArray[np.float64]:
    """What each example adds to the AUC of scores (N,): (N,) figures whose mean it is; NaN where it can't be measured.

    An anomaly's placement is the share of normal examples with a lower score, equal ones counting half, and the AUC is
    the mean of the placements; so for normal examples, the other way round. With n examples of m of one kind, that of
    an example is AUC + n / m * (placement - AUC). Their variance is that of DeLong et al. 1988, "Comparing the Areas
    under Two or More Correlated Receiver Operating Characteristic Curves", to the first order.
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
    """Share of the others that each score is above; equal ones count half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(others))


def anomaly(scores: Floats, y: Labels, max_fpr: float = MAX_FPR) -> MetricValues:
    """AUC and pAUC of scores (N,), higher is more anomalous, against labels (N,), 0 normal and 1 anomalous.

    pAUC is the area where at most `max_fpr` of the normal examples raise an alarm, scaled so that guessing gives 0.5
    and perfection 1 (McClish 1989): scikit-learn's roc_auc_score with max_fpr, as in the evaluation of DCASE 2020
    task 2 (Koizumi et al. 2020) and of MLPerf Tiny. Those average over machines: call this for each.
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
    """Of what a model gives back: the score of an example is its mean squared error, in real units.

    As in MLPerf Tiny (github.com/mlcommons/tiny, anomaly_detection) and DCASE 2020 task 2 (Koizumi et al. 2020).
    """

    metric = "auc"

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return anomaly(_errors(rows, x), y)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return auc_shares(_errors(rows, x), y)


def _errors(rows: Floats, x: Floats) -> NDArray[np.float64]:
    """Mean squared error (N,) of what a model gives back, in float64."""
    return np.asarray(np.mean((rows.astype(np.float64) - x.reshape(len(x), -1)) ** 2, axis=1))
