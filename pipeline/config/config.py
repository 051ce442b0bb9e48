"""Load a YAML file as a validated, frozen Config. All faults are reported at once, each as file:line:column."""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.config import links
from pipeline.config.overrides import override
from pipeline.core import validation, yaml
from pipeline.core.errors import ConfigError, Fault, Place
from pipeline.core.home import expanded
from pipeline.core.settings import NAME, Settings
from pipeline.core.validation import S
from pipeline.data.source import AnyData
from pipeline.keras.models.model import AnyModel, Model
from pipeline.stages.stage import AnyStage
from pipeline.stages.verify import Verify
from pipeline.verify import targets
from pipeline.verify.targets import AnyTarget


class Config(Settings):
    """The configuration of one run: data, a model, and stages."""

    name: Annotated[str, Field(pattern=NAME, max_length=100)]
    """Name of the run. Results are written to runs/<name>/."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Random seed for initial weights, the order of examples and all other random choices of stages."""
    target: AnyTarget | None = None
    """The device that the files are made for: the name of a built-in target, a YAML file, or settings (`like:` a
    target, with changes). Verify stages also check what the target requires, and convert stages take from it the
    settings that they leave out."""
    data: AnyData
    """The data source."""
    model: AnyModel
    """The network to train."""
    stages: Annotated[tuple[AnyStage, ...], Field(strict=False, min_length=1, max_length=500)]
    """The stages, in the order in which they run."""

    @field_validator("stages")
    @classmethod
    def _aimed(cls, stages: tuple[AnyStage, ...], found: ValidationInfo) -> tuple[AnyStage, ...]:
        return tuple(stage.aimed_at(found.data.get("target")) for stage in stages)

    @model_validator(mode="after")
    def _target_counts(self) -> "Config":
        if self.target and not any(isinstance(stage, Verify) for stage in self.stages):
            raise ValueError("target: is checked by a verify stage, and there is none")
        return self

    @model_validator(mode="after")
    def _fed(self) -> "Config":
        return self.model_copy(update={"data": self.data.feeding(self.model)})

    def networks(self) -> Iterator[tuple[Place, Model]]:
        """Yield every model that the config names, with its place."""
        yield ("model",), self.model
        for i, stage in enumerate(self.stages):
            yield from ((("stages", i, name), model) for name, model in stage.networks())


def load(path: Path, overrides: Sequence[str] = (), target: str | None = None) -> tuple[Config, yaml.Document]:
    """Read a config file and apply `--set` overrides such as ``stages.prune.sparsity=0.7``.

    target: what `--target` says in the place of the config's: a name, or a YAML file seen from the working directory.

    Returns the config and the YAML document with the locations of its values. Raises ConfigError with all faults.
    """
    document = yaml.read(path)
    if not isinstance(document.value, dict):
        raise ConfigError(
            Fault("must be a mapping of settings", where=document.where(()), received=yaml.show(document.value))
        )
    faults: list[Fault] = []
    origins: dict[Place, str] = {}
    for option in overrides:
        try:
            origins[override(document.value, option)] = f"--set {option}"
        except ConfigError as error:
            faults += error.faults
    if target is not None:
        document.value["target"] = str(Path(target).absolute()) if Path(target).suffix else target
        origins[("target",)] = f"--target {target}"
    try:
        return _validated(Config, document, path.parent, origins, faults), document
    except ConfigError as error:
        raise ConfigError(*error.faults, *links.faults(document)) from None


def load_as(kind: type[S], path: Path) -> S:
    """Read a YAML file with settings of class `kind`. Rules and errors are the same as for `load`."""
    document = yaml.read(path)
    return _validated(kind, document, path.parent)


def _validated(
    kind: type[S],
    document: yaml.Document,
    folder: Path,
    origins: Mapping[Place, str] = types.MappingProxyType({}),
    faults: Sequence[Fault] = (),
) -> S:
    """Return the document's values as an object of class `kind`. Raises ConfigError with all faults.

    folder   directory that relative paths in the document start from
    origins  place -> the option that wrote the value there, as it was given
    faults   faults that are known already
    """
    values = _paths_from(document.value, folder)
    found = list(faults)
    if isinstance(values, dict) and "target" in values:
        try:
            values["target"] = targets.expand(targets.placed(values["target"], folder))
        except ConfigError as error:
            del values["target"]
            found += (_of_target(fault, document, origins) for fault in error.faults)
    return validation.validated(kind, document, values, origins, found)


def _of_target(fault: Fault, document: yaml.Document, origins: Mapping[Place, str]) -> Fault:
    """Return a fault of a target with its location: in the target's own file, or else at `target:` of the config."""
    place = ("target", *([fault.field] if fault.field else []))
    where = validation.where(place, document, origins)
    return fault if fault.where else replace(fault, where=where, field=".".join(place))


def _paths_from(value: Any, folder: Path) -> Any:
    """Return a copy of the values in which each relative `path:` is joined to the config file's folder.

    A path that begins with ``~/`` is in the user's home folder.
    """
    return with_paths(value, lambda path: str(folder / expanded(path)))


def with_paths(value: Any, change: Callable[[str], str]) -> Any:
    """Return a copy of the values in which `change` is applied to each `path:`, at any depth.

    A list of modules in `custom:` gets a path first: modules are looked for in the config file's folder.
    """
    if isinstance(value, dict):
        return {
            key: change(item)
            if key == "path" and isinstance(item, str) and item
            else with_paths(_expanded(key, item), change)
            for key, item in value.items()
        }
    return [with_paths(item, change) for item in value] if isinstance(value, list) else value


def _expanded(key: str, item: Any) -> Any:
    return {"modules": item, "path": "."} if key == "custom" and item and isinstance(item, list) else item
