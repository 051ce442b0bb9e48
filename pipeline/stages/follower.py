"""Stages that go on from the result of another: what they can't follow, and what they find in a network."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pipeline.errors import Fault, StageError
from pipeline.stage import Stage

if TYPE_CHECKING:
    import tf_keras

Finding = tuple[tuple[str | int, ...], Fault]  # the place below the stage's settings, and what is wrong there


class Follower(Stage):
    """A stage that goes on from the result of one above, and says before anything runs what does not fit.

    not_behind  kind of a stage above, at any distance -> why this one can't follow it
    resizes     whether the result's layers can have other sizes than those that it was given
    """

    not_behind: ClassVar[Mapping[str, str]] = {}
    resizes: ClassVar[bool] = False

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[Finding]:
        """What makes no sense behind these stages, nearest first, whatever the network."""
        for kind, why in self.not_behind.items():
            if stage := nearest(above, kind):
                twice = kind == getattr(self, "stage")  # noqa: B009 (of each subclass)
                mend = "leave one of them out" if twice else f"put it above {stage.label!r}"
                do = f"{mend}, or name an earlier stage with `from:`"
                yield ("from" if self.from_ else "stage",), Fault(f"can't follow {kind}: {why}", do=do)

    def unmatched(self, model: "tf_keras.Model") -> Iterator[Finding]:
        """Patterns in the settings that no layer's name matches."""
        yield from ()

    def examine(self, model: "tf_keras.Model") -> Iterator[Finding | str]:
        """What else is wrong with a network of this structure, whatever its weights, and notes on it as text."""
        yield from ()

    def leaves(self, model: "tf_keras.Model") -> "tf_keras.Model | None":
        """A network with the layers that the stage's result has; None when that is not known before it runs."""
        return model

    def refuse(self, model: "tf_keras.Model") -> None:
        """StageError with all that is wrong with the network."""
        self.check([*self.unmatched(model), *self.examine(model)])

    def check(self, found: Iterable[Finding | str]) -> None:
        """StageError with these findings, where there are any."""
        faults = [
            replace(fault, field=".".join(("stages", self.label, *map(str, place))))
            for place, fault in (each for each in found if not isinstance(each, str))
        ]
        if faults:
            raise StageError(*faults)


def nearest(above: Sequence[Stage], kind: str) -> Stage | None:
    """The nearest of the stages above that is of that kind."""
    return next((stage for stage in above if getattr(stage, "stage") == kind), None)  # noqa: B009 (of each subclass)
