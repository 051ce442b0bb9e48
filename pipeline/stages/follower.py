"""The base class of stages that work on the result of another stage, with the checks that run before any training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.keras.layer_choice import layer_names, unmatched
from pipeline.keras.types import KerasModel
from pipeline.stages.stage import Stage


class Follower(Stage):
    """A stage that works on the result of a stage above, and reports before anything runs what does not fit.

    not_behind  kind of a stage that must not stand above, at any distance -> the reason
    resizes     whether layers of the result can have other sizes than those of the network that it reads
    renames     whether layers of the result can have other names

    ::

        class Clip(Follower):
            \"\"\"Limit the weights.\"\"\"

            takes = gives = "keras"
            not_behind = {"cluster": "clipping would move shared weights off their shared values"}
            stage: Literal["clip"]

            def run(self, inputs: Inputs, work: Path) -> None:
                model = tf.load_model(inputs.source.keras)
                ...
    """

    not_behind: ClassVar[Mapping[str, str]] = {}
    resizes: ClassVar[bool] = False
    renames: ClassVar[bool] = False

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        """Yield what makes no sense after the stages `above` (nearest first), whatever the network."""
        for kind, why in self.not_behind.items():
            if stage := nearest(above, kind):
                twice = kind == self.kind
                mend = "leave one of them out" if twice else f"put it above {stage.label!r}"
                do = f"{mend}, or name an earlier stage with `from:`"
                yield ("from" if self.from_ else "stage",), Fault(f"can't follow {kind}: {why}", do=do)

    def layers_named(self) -> Mapping[str, Iterable[str]]:
        """Return the settings that name layers of the network that it reads: setting -> names and patterns."""
        return {}

    def unmatched(self, model: KerasModel) -> Iterator[PlacedFault]:
        """Yield patterns in the settings that no layer's name matches."""
        if named := self.layers_named():
            yield from unmatched(layer_names(model), named)

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        """Yield what else is wrong with a network of this structure, whatever its weights. A str is only a note."""
        yield from ()

    def leaves(self, model: KerasModel) -> KerasModel | None:
        """Return a network with the layers of the stage's result; None if they are not known before the stage runs."""
        return model

    def refuse(self, model: KerasModel) -> None:
        """Raise StageError with everything that is wrong with the network, if anything is."""
        self.check([*self.unmatched(model), *self.examine(model)])

    def check(self, found: Iterable[PlacedFault | str]) -> None:
        """Raise StageError with the faults among these findings, if there are any."""
        faults = [
            replace(fault, field=".".join(("stages", self.label, *map(str, place))))
            for place, fault in (each for each in found if not isinstance(each, str))
        ]
        if faults:
            raise StageError(*faults)


def nearest(above: Sequence[Stage], kind: str) -> Stage | None:
    """The nearest stage of that kind among the stages above (nearest first); None if there is none."""
    return next((stage for stage in above if stage.kind == kind), None)
