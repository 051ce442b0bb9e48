"""A target: what its hardware has, what its runtime can do, and the checks that follow from both."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from pipeline.core import validation, yaml
from pipeline.core.errors import ConfigError, Fault, did_you_mean
from pipeline.core.settings import NAME, Fraction, Settings
from pipeline.verify.checks.arena import Arena
from pipeline.verify.checks.check import Check
from pipeline.verify.checks.io import Io, Types
from pipeline.verify.checks.npu import Accelerator, Npu
from pipeline.verify.checks.op_versions import OpVersions
from pipeline.verify.checks.ops import Ops
from pipeline.verify.checks.size import Size
from pipeline.verify.checks.static_shapes import StaticShapes

Texts = Annotated[tuple[str, ...], Field(strict=False)]
_TABLE = "_ops"  # tflm_ops.yaml is the table `tflm`


class OpRule(Settings):
    """What a runtime takes of one op."""

    max_version: PositiveInt | None = None
    """The highest version; any when left out."""
    dtypes: Texts = ()
    """Kinds of data, such as `int8`, or `int8xint4` for input and weights; all when left out."""


class OpTable(Settings):
    """The ops of a runtime."""

    sources: Texts
    """Where the facts come from."""
    ops: dict[str, OpRule]
    """Op -> what the runtime takes of it."""


class Vela(Settings):
    """How the file is compiled for an Ethos-U, and how much of it must run there."""

    accelerator: Accelerator
    """The NPU and its multiply-accumulates a cycle."""
    system_config: str | None = None
    """Clock and memories, by their name in Vela's configuration file."""
    memory_mode: str | None = None
    """Which memory holds what, by its name in Vela's configuration file."""
    min_share: Fraction = 1.0
    """Least share of the file's ops that run on the NPU, a fraction."""


class Target(Settings):
    """What a file is to run on. What is left out is no limit."""

    name: Annotated[str, Field(pattern=NAME, max_length=60)]
    """Its name, in results."""
    title: str = ""
    """What it is."""
    sources: Texts = ()
    """Where the facts come from."""
    runtime: Literal["tflm", "litert", "edgetpu", "ethos-u"]
    """What runs the file; ethos-u is TensorFlow Lite Micro with the NPU's op, after Vela."""
    flash_bytes: PositiveInt | None = None
    """Flash that the file has to fit in."""
    ram_bytes: PositiveInt | None = None
    """RAM of the chip."""
    arena_bytes: PositiveInt | None = None
    """RAM that is left for the arena; ram_bytes when left out."""
    inputs: Types | None = None
    """Types that the input may have."""
    outputs: Types | None = None
    """Types that the output may have."""
    ops: str | dict[str, OpRule]
    """What the runtime takes: a table of edgepipe's (`tflm`, `litert`, `edgetpu`), or op -> rule."""
    static_shapes: bool = True
    """Whether all sizes must be in the file."""
    per_channel_dense: bool = True
    """Whether dense weights may have a scale for each unit."""
    int16x8: bool = True
    """Whether 16-bit data with 8-bit weights runs."""
    vela: Vela | None = None
    """The NPU, for the ethos-u runtime."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "Target":
        if isinstance(self.ops, str) and self.ops not in _tables():
            raise ValueError(f"ops: there is no such table of ops; {did_you_mean(self.ops, _tables())}")
        if (self.runtime == "ethos-u") != (self.vela is not None):
            raise ValueError("vela: must be given for the runtime ethos-u, and for no other")
        if self.arena_bytes and self.ram_bytes and self.arena_bytes > self.ram_bytes:
            raise ValueError("arena_bytes: must be at most ram_bytes")
        return self

    def rules(self) -> dict[str, OpRule]:
        """Op -> what the runtime takes of it."""
        rules = _table(self.ops).ops if isinstance(self.ops, str) else self.ops
        return rules | {"ethos-u": OpRule()} if self.vela else rules  # what Vela puts in the place of others

    def evidence(self) -> tuple[str, ...]:
        """Its sources and those of the table of ops that it refers to."""
        return (*self.sources, *(_table(self.ops).sources if isinstance(self.ops, str) else ()))

    def checks(self) -> tuple[Check, ...]:
        """What must hold for a file that is to run here."""
        return tuple(self._checks())

    def _checks(self) -> Iterator[Check]:
        rules = self.rules()
        yield Ops(
            check="ops",
            allowed={op: rule.dtypes for op, rule in rules.items()},
            per_channel_dense=self.per_channel_dense,
            int16x8=self.int16x8,
        )
        if versions := {op: rule.max_version for op, rule in rules.items() if rule.max_version}:
            yield OpVersions(check="op_versions", max=versions)
        if self.inputs or self.outputs:
            yield Io(check="io", input=self.inputs, output=self.outputs)
        if self.static_shapes:
            yield StaticShapes(check="static_shapes")
        yield from self._memory(self.arena_bytes or self.ram_bytes)

    def _memory(self, ram: int | None) -> Iterator[Check]:
        """Of the file as it is or, where Vela makes another one of it, by Vela's estimate of that."""
        if self.vela:
            yield Npu(check="npu", max_sram_bytes=ram, max_flash_bytes=self.flash_bytes, **dict(self.vela))
            return
        if self.flash_bytes:
            yield Size(check="size", max_bytes=self.flash_bytes)
        if ram and self.runtime == "tflm":
            yield Arena(check="arena", max_bytes=ram)


def names() -> tuple[str, ...]:
    """The built-in targets."""
    return tuple(sorted(name for name in _stems() if not name.endswith(_TABLE)))


def load(name_or_path: str) -> Target:
    """A built-in target by its name, or one from a YAML file. ConfigError with every fault."""
    return _load(name_or_path, ())


def expand(value: Any) -> Any:
    """What a user may write for a target, as what Target takes: a name, a path, or settings that are `like` another.

    Raises ConfigError for a name or file that gives no target; the field is "like" where that names it.
    """
    return load(value) if isinstance(value, str) else _with_base(value, ())


AnyTarget = Annotated[Target, BeforeValidator(expand, json_schema_input_type=str | Target)]


def _load(name_or_path: str, above: tuple[str, ...]) -> Target:
    """above: the files that are `like` this one."""
    if not _is_path(name_or_path) and name_or_path not in names():
        do = did_you_mean(name_or_path, names())
        raise ConfigError(Fault("there is no such target", received=repr(name_or_path), do=do))
    if name_or_path in above or len(above) > 16:
        raise ConfigError(Fault("is like itself", received=repr(name_or_path)))
    path = Path(name_or_path) if _is_path(name_or_path) else _file(name_or_path)
    document = yaml.read(path)
    try:
        value = _with_base(placed(document.value, path.parent), (*above, name_or_path))
    except ConfigError as error:
        like = document.where(("like",))
        raise ConfigError(*(replace(fault, where=fault.where or like) for fault in error.faults)) from None
    return validation.validated(Target, document, value)


def _with_base(value: Any, above: tuple[str, ...]) -> Any:
    """Settings with those of the target that they are `like` below them."""
    if not isinstance(value, dict) or not isinstance(value.get("like"), str):
        return value
    try:
        base = _load(value["like"], above)
    except ConfigError as error:
        raise ConfigError(*(fault if fault.where else replace(fault, field="like") for fault in error.faults)) from None
    own = {key: item for key, item in value.items() if key != "like"}
    return {**base.settings(), "name": f"like-{base.name}", **own}


def placed(value: Any, folder: Path) -> Any:
    """The same with a path of it made relative to the folder of the file that it stands in."""
    if isinstance(value, str):
        return str(folder / value) if _is_path(value) else value
    return {**value, "like": placed(value["like"], folder)} if isinstance(value, dict) and "like" in value else value


def _is_path(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) or "/" in text or "\\" in text


def _file(name: str) -> Path:
    return Path(str(files("pipeline.verify.targets").joinpath(f"{name}.yaml")))


@cache
def _stems() -> frozenset[str]:
    return frozenset(path.stem for path in _file("").parent.glob("*.yaml"))


def _tables() -> tuple[str, ...]:
    return tuple(sorted(name.removesuffix(_TABLE) for name in _stems() if name.endswith(_TABLE)))


@cache
def _table(name: str) -> OpTable:
    document = yaml.read(_file(name + _TABLE))
    return validation.validated(OpTable, document, document.value)
