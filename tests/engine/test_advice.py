"""Signs of a training that goes wrong, while it trains and at its end."""

import pytest

from pipeline.config.config import load
from pipeline.core.progress import Progress
from pipeline.engine.advice import HELD, Advisor, signs, too_few
from tests.support.pipelines import HEAD

FINE = {
    "accuracy": [0.5, 0.7, 0.9], "val_accuracy": [0.5, 0.7, 0.8], "loss": [1.0, 0.4, 0.3], "val_loss": [1.0, 0.5, 0.55],
    "val_unpredicted": [3.0, 1.0, 0.0],
}  # fmt: skip


def told(labels=4, **changes):
    return dict(signs(FINE | changes, labels))


def test_a_training_that_goes_well_needs_no_advice():
    assert told() == dict(signs({}, 4)) == {}


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"val_accuracy": [0.25] * 3}, "gap", "as good as guessing: the statistics of batch normalisation lag behind"),
        ({"val_accuracy": [0.5] * 3, "val_unpredicted": [3.0]}, "gap", "validation accuracy 50.0 %, as good as guess"),
        ({"val_accuracy": [0.5] * 3}, "gap", "in a long training the network learns the examples by heart"),
        ({"accuracy": [0.26], "val_accuracy": [0.25]}, "nothing", "among 4 labels: nothing is learnt"),
        ({"val_unpredicted": [2.0]}, "unpredicted", "2 of 4 labels are never predicted on the validation split"),
        ({"loss": [1.0, 0.5, 0.9]}, "loss", "training loss rose from 0.5 in epoch 2 to 0.9: the training diverges"),
        ({"val_loss": [1.0, 0.5, 0.9]}, "loss", "validation loss rose from 0.5 in epoch 2 to 0.9: lower learning_rate"),
    ],
)
def test_each_sign_has_its_kind_and_names_the_cure(changes, kind, said):
    found = told(**changes)
    assert [*found] == [kind]
    assert said in found[kind]
    if kind == "gap":
        assert "recalibrate" in found[kind]
        assert "norm_momentum" in found[kind]


def test_without_labels_only_losses_are_judged():
    assert told(labels=0, val_accuracy=[0.0] * 3) == {}
    assert [*told(labels=0, loss=[1.0, 0.5, 0.9])] == ["loss"]


def test_a_validation_split_is_too_small_where_an_example_is_more_than_two_points():
    assert too_few(50) == ""
    assert too_few(24).startswith("the validation split has 24 examples, so one of them is 4.2 % of each figure")


@pytest.fixture
def advisor(written):
    config, _ = load(written(HEAD + "  - {stage: train, epochs: 9}\n"))
    return Advisor(config)


def heard(advisor, val_accuracy, total=9):
    """What is told after each epoch of a training with these validation accuracies."""
    found = []
    for done in range(1, len(val_accuracy) + 1):
        curves = {"accuracy": [0.9] * done, "val_accuracy": val_accuracy[:done], "val_loss": [1.0] * done}
        found.append(list(advisor.heard("train", Progress("epoch", done, total, curves))))
    return found


def test_a_sign_is_told_once_when_it_has_held_for_some_epochs(advisor):
    spoken = heard(advisor, [0.1] * 6)
    assert [len(each) for each in spoken] == [0] * (HELD - 1) + [1] + [0] * (6 - HELD)
    assert spoken[HELD - 1][0].startswith(f"epoch {HELD}: training accuracy is 90.0 %, validation accuracy 10.0 %")


def test_a_sign_of_the_first_epochs_that_passes_is_not_told(advisor):
    assert not any(heard(advisor, [0.1, 0.1, 0.8, 0.8]))


def test_at_the_end_what_holds_is_told_as_in_the_report(advisor):
    curves = {"accuracy": [0.9, 0.9], "val_accuracy": [0.8, 0.1], "val_loss": [1.0, 1.0]}
    (live,) = advisor.heard("train", Progress("epoch", 2, 2, curves))
    assert live == f"epoch 2: {advisor.at_the_end(curves)[0]}"
