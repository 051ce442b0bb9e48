"""What learning curves say of a training that goes wrong."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.core import units

GAP = 0.3  # of accuracy between training and validation, a fraction, from where a training is not what it seems
WORSE = 1.5  # of the last validation loss over the best one, from where a training diverges or overfits


def advice(curves: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield a note for each sign that the training went wrong. curves: a value for each epoch, by Keras's names."""
    own, validation = curves.get("accuracy", ()), curves.get("val_accuracy", ())
    if own and validation and own[-1] - validation[-1] > GAP:
        yield (
            f"training accuracy is {units.percent(own[-1])}, validation accuracy {units.percent(validation[-1])}: in "
            "a short training the statistics of batch normalisation lag behind, which a recalibrate stage mends; in a "
            "long one the network learns the examples by heart"
        )
    losses = curves.get("val_loss", ())
    if len(losses) > 2 and min(losses) > 0 and losses[-1] > WORSE * min(losses):
        best = losses.index(min(losses)) + 1
        yield (
            f"validation loss rose from {units.number(min(losses))} in epoch {best} to {units.number(losses[-1])}: "
            "lower learning_rate, or set early_stopping to keep the best epoch"
        )
