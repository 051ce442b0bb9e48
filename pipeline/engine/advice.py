"""What learning curves say of a training that goes wrong: told while it trains, and in the report by the same rules."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.config.config import Config
from pipeline.core import units
from pipeline.core.progress import Progress

GAP = 0.3  # of accuracy between training and validation, a fraction, from where a training is not what it seems
NEAR = 0.05  # of accuracy above that of guessing, a fraction, up to which nothing was learnt
WORSE = 1.5  # of a loss over the best one, from where a training diverges or overfits
HELD = 3  # epochs in a row for which a sign must hold before it is told
FEW = 50  # validation examples, below which one is more than 2 points of accuracy

Curves = Mapping[str, Sequence[float]]  # a value for each epoch, by Keras's names


class Advisor:
    """Gives advice on the trainings of a run: each once while it trains, and all that holds at the end of one."""

    def __init__(self, config: Config) -> None:
        spec = config.data.spec()
        self.labels = len(spec.labels) if spec.task.decides else 0
        self.too_few = too_few(len(config.data.split("validation")))
        self._told: set[tuple[str, str]] = set()

    def heard(self, name: str, progress: Progress) -> Iterator[str]:
        """Yield the advice on a step's training that is due with this report of its progress."""
        curves, done = progress.curves, progress.done
        if "val_loss" not in curves:
            return
        if self.too_few:
            yield from self._once("", "few", self.too_few)
        over = done == progress.total
        held = [dict(signs(_until(curves, done - ago), self.labels)) for ago in range(1 if over else HELD)]
        for kind, text in held[0].items():
            if all(kind in before for before in held):
                yield from self._once(f"{name} {progress.what}", kind, f"epoch {done}: {text}")

    def at_the_end(self, curves: Curves) -> tuple[str, ...]:
        """The advice on a finished training."""
        return tuple(text for _, text in signs(curves, self.labels))

    def _once(self, name: str, kind: str, text: str) -> Iterator[str]:
        if (name, kind) not in self._told:
            self._told.add((name, kind))
            yield text


def _until(curves: Curves, epochs: int) -> Curves:
    return {name: values[: max(0, epochs)] for name, values in curves.items()}


def too_few(validation: int) -> str:
    """Advice on a validation split that is too small to tell one epoch from another; "" if it is large enough."""
    if validation >= FEW:
        return ""
    share = units.percent(1 / validation)
    return (
        f"the validation split has {units.whole(validation)} examples, so one of them is {share} of each figure on it: "
        "too few to tell a good epoch from a bad one; raise data.splits.validation"
    )


def signs(curves: Curves, labels: int) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each sign that the training went wrong up to the last epoch of its curves.

    labels: number of labels; 0 for a task without decisions
    """
    own, validation = curves.get("accuracy", ()), curves.get("val_accuracy", ())
    if labels and own and validation:
        yield from _accuracies(own[-1], validation[-1], labels, curves.get("val_unpredicted", ()))
    yield from _losses(curves.get("loss", ()), curves.get("val_loss", ()))


def _accuracies(own: float, validation: float, labels: int, unpredicted: Sequence[float]) -> Iterator[tuple[str, str]]:
    guessed = 1 / labels + NEAR
    lost = int(unpredicted[-1]) if unpredicted else 0
    stuck = validation <= guessed or lost >= labels - 1
    told = f"training accuracy is {units.percent(own)}, validation accuracy {units.percent(validation)}"
    lag = "the statistics of batch normalisation lag behind in a short training; a recalibrate stage behind this one"
    mends = "mends that, or a smaller norm_momentum of the model"
    if own - validation > GAP:
        long = "" if stuck else "; in a long training the network learns the examples by heart"
        yield "gap", f"{told}{', as good as guessing' if stuck else ''}: {lag} {mends}{long}"
    elif max(own, validation) <= guessed:
        do = "change learning_rate, and look at the labels and the scale of the inputs"
        yield "nothing", f"{told}, as good as guessing among {labels} labels: nothing is learnt; {do}"
    elif lost:
        which = f"{lost} of {labels} labels {'is' if lost == 1 else 'are'} never predicted on the validation split"
        do = "train longer, or set class_weights: balanced if they are rare"
        yield "unpredicted", f"{which}, though it has examples of them: {do}"


def _losses(own: Sequence[float], validation: Sequence[float]) -> Iterator[tuple[str, str]]:
    if epoch := _risen(own):
        do = "the training diverges; lower learning_rate, or set clip_norm"
        yield "loss", f"{_rise('training loss', own, epoch)}: {do}"
    elif epoch := _risen(validation):
        do = "lower learning_rate, or set early_stopping to keep the best epoch"
        yield "loss", f"{_rise('validation loss', validation, epoch)}: {do}"


def _risen(losses: Sequence[float]) -> int:
    """The epoch of the smallest loss, if the last one is far above it; 0 if it is not."""
    if len(losses) > 2 and min(losses) > 0 and losses[-1] > WORSE * min(losses):
        return losses.index(min(losses)) + 1
    return 0


def _rise(what: str, losses: Sequence[float], epoch: int) -> str:
    return f"{what} rose from {units.number(losses[epoch - 1])} in epoch {epoch} to {units.number(losses[-1])}"
