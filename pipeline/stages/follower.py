"""Stages that go on from the result of another: what they can't follow, and what they find in a network."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.keras.types import KerasModel
from pipeline.stages.stage import Stage


class Follower(Stage):
    """A stage that goes on from the result of one above, and says before anything runs what does not fit.

    not_behind  kind of a stage above, at any distance -> why this one can't follow it
    resizes     whether the result's layers can have other sizes than those that it was given
    """

    not_behind: ClassVar[Mapping[str, str]] = {}
    resizes: ClassVar[bool] = False

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        """What makes no sense behind these stages, nearest first, whatever the network."""
        for kind, why in self.not_behind.items():
            if stage := nearest(above, kind):
                twice = kind == self.kind
                mend = "leave one of them out" if twice else f"put it above {stage.label!r}"
                do = f"{mend}, or name an earlier stage with `from:`"
                yield ("from" if self.from_ else "stage",), Fault(f"can't follow {kind}: {why}", do=do)

    def unmatched(self, model: KerasModel) -> Iterator[PlacedFault]:
        """Patterns in the settings that no layer's name matches."""
        yield from ()

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        """What else is wrong with a network of this structure, whatever its weights, and notes on it as text."""
        yield from ()

    def leaves(self, model: KerasModel) -> KerasModel | None:
        """A network with the layers that the stage's result has; None when that is not known before it runs."""
        return model

    def refuse(self, model: KerasModel) -> None:
        """StageError with all that is wrong with the network."""
        self.check([*self.unmatched(model), *self.examine(model)])

    def check(self, found: Iterable[PlacedFault | str]) -> None:
        """StageError with these findings, where there are any."""
        faults = [
            replace(fault, field=".".join(("stages", self.label, *map(str, place))))
            for place, fault in (each for each in found if not isinstance(each, str))
        ]
        if faults:
            raise StageError(*faults)


def nearest(above: Sequence[Stage], kind: str) -> Stage | None:
    """The nearest of the stages above that is of that kind."""
    return next((stage for stage in above if stage.kind == kind), None)
