"""Signs of a training that goes wrong."""

from pipeline.report.curves import advice

FINE = {"accuracy": [0.5, 0.9], "val_accuracy": [0.5, 0.8], "val_loss": [1.0, 0.5, 0.55], "loss": [1.0, 0.4, 0.3]}


def test_a_training_that_goes_well_needs_no_advice():
    assert list(advice(FINE)) == list(advice({})) == []


def test_validation_that_stays_at_chance_names_the_cure():
    (note,) = advice(FINE | {"val_accuracy": [0.25, 0.25]})
    assert "training accuracy is 90.0 %, validation accuracy 25.0 %" in note
    assert "recalibrate" in note


def test_a_loss_that_rises_names_its_best_epoch():
    (note,) = advice(FINE | {"val_loss": [1.0, 0.5, 0.9]})
    assert note.startswith("validation loss rose from 0.5 in epoch 2 to 0.9: lower learning_rate")
