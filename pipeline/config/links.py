"""Resolve which stages each stage reads, from the names and kinds in a config."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from pipeline.core import yaml
from pipeline.core.errors import Fault, did_you_mean
from pipeline.stages.stage import STAGES, Inputs, Kind, Stage

Links = tuple[tuple[int, ...], ...]  # for each stage, the positions of the stages that it reads
_NAMING = ("name", "from", "baseline", "teacher")  # the settings that hold the name of one stage


def resolve(stages: Sequence[Stage], document: yaml.Document) -> tuple[Links, list[Fault]]:
    """Return the positions of the stages that each stage reads, and all names and orders that are wrong."""
    resolver = _Resolver(stages, document)
    found = tuple(tuple(resolver.needs(i)) for i in range(len(stages)))
    return found, resolver.faults


def faults(document: yaml.Document) -> list[Fault]:
    """Return the names and orders that are wrong in a config that has other faults too."""
    value = document.value.get("stages") if isinstance(document.value, dict) else None
    items = value if isinstance(value, list) else []
    return resolve([_named(item if isinstance(item, dict) else {}, i) for i, item in enumerate(items)], document)[1]


class _Unknown(Stage):
    """Stands for a stage of an unknown kind: it may give anything."""

    takes = "nothing"
    gives: ClassVar[Any] = None

    def run(self, inputs: Inputs, work: Path) -> None:
        raise NotImplementedError


def _named(item: Mapping[str, Any], i: int) -> Stage:
    """Return the stage at position i with nothing but its names, which are the only settings to be validated."""
    kind = STAGES.of(item)
    if kind is None:
        return _Unknown.model_construct(name=str(item.get("name") or item.get("stage") or i))
    texts = {key: item[key] if isinstance(item.get(key), str) else None for key in _NAMING}
    of = item.get("of") if isinstance(item.get("of"), list) else ()
    listed = {"of": tuple(name for name in of or () if isinstance(name, str))} if "of" in kind.model_fields else {}
    names: dict[str, Any] = texts | listed
    return cast("Stage", kind.model_construct(None, **names))


class _Resolver:
    """Collects in `faults` what is wrong with the names and the order of stages."""

    def __init__(self, stages: Sequence[Stage], document: yaml.Document) -> None:
        self.stages, self.document = stages, document
        self.labels = [stage.label for stage in stages]
        self.faults: list[Fault] = []

    def needs(self, i: int) -> Iterator[int]:
        """Yield the positions of the stages that the stage at position i reads."""
        if self.labels[i] in self.labels[:i]:
            do = "give one of them a `name:`"
            self._fault(i, "name", "is the name of a stage above too", repr(self.labels[i]), do)
        yield from self._sources(i)
        for field, name in self.stages[i].reads_beside().items():
            yield from self._above(i, name, field)

    def _sources(self, i: int) -> Iterator[int]:
        """Yield the positions of the stages that a result is made from, or that a verify stage checks."""
        stage, names = self.stages[i], self.stages[i].reads()
        if stage.takes == "nothing":
            if stage.from_ is not None:
                self._fault(i, "from", "is not for a stage that starts from the config's model")
        elif names is not None:
            if stage.from_ is not None:
                self._fault(i, "from", "is not for this stage; `of` names what it reads")
            for name in names:
                yield from self._above(i, name, "baseline" if name == getattr(stage, "baseline", None) else "of")
        elif stage.from_ is not None:
            yield from self._above(i, stage.from_, "from")
        elif not stage.starts:
            fitting = [j for j in range(i) if self._gives(j, stage.takes)]
            if not fitting:
                self._fault(i, "stage", f"needs a stage above that gives {_article(stage.takes)}")
            yield from fitting[-1:]

    def _above(self, i: int, name: str, field: str) -> Iterator[int]:
        """Yield the position of the stage above of that name."""
        takes, above = self.stages[i].takes, self.labels[:i]
        if name not in above:
            below = " above; it stands below" if name in self.labels[i + 1 :] else ""
            fitting = (label for j, label in enumerate(above) if self._gives(j, takes))
            self._fault(i, field, f"names no stage{below or ' above'}", repr(name), did_you_mean(name, fitting))
            return
        j = self.labels.index(name)
        if not self._gives(j, takes):
            received = f"{name!r}, which gives {_article(self.stages[j].gives)}"
            self._fault(i, field, f"must name a stage that gives {_article(takes)}", received)
            return
        yield j

    def _gives(self, i: int, kind: Kind) -> bool:
        return self.stages[i].gives in (kind, None)

    def _fault(self, i: int, field: str, rule: str, received: str = "", do: str = "") -> None:
        where = self.document.where(("stages", i, field))
        self.faults.append(Fault(rule, where, f"stages.{self.labels[i]}.{field}", received, do))


def _article(kind: str) -> str:
    return {"keras": "a Keras model", "tflite": "a .tflite file", "checks": "checks"}.get(kind, kind)
