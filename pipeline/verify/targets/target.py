"""A target: the limits of its hardware, the ops of its runtime, and the checks that follow from both."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from pipeline.core import validation, yaml
from pipeline.core.errors import ConfigError, Fault, did_you_mean
from pipeline.core.home import expanded
from pipeline.core.settings import NAME, Fraction, Settings
from pipeline.verify.checks.check import CHECKS, Check
from pipeline.verify.checks.io import Types
from pipeline.verify.checks.npu import Accelerator

Texts = Annotated[tuple[str, ...], Field(strict=False)]
_TABLE = "_ops"  # file name suffix of an op table: tflm_ops.yaml is the table `tflm`


class OpRule(Settings):
    """What a runtime supports of one op."""

    max_version: PositiveInt | None = None
    """Highest supported version. Default: any version."""
    dtypes: Texts = ()
    """Supported data types, such as `int8`, or `int8xint4` for input and weights. Default: all."""


class OpTable(Settings):
    """The ops that a runtime supports."""

    sources: Texts
    """Sources of the facts, such as links."""
    ops: dict[str, OpRule]
    """Supported ops by name, each with the versions and data types that the runtime supports."""


class Vela(Settings):
    """How Vela compiles the file for an Ethos-U, and how much of the file must run on the NPU."""

    accelerator: Accelerator
    """NPU, and its number of multiply-accumulates per cycle."""
    system_config: str | None = None
    """Name of the system configuration (clock and memories) in Vela's configuration file. Default: Vela's own."""
    memory_mode: str | None = None
    """Name of the memory mode (which memory holds what) in Vela's configuration file. Default: Vela's own."""
    min_share: Fraction = 1.0
    """Minimum share of the file's ops that run on the NPU, as a fraction."""


class Target(Settings):
    """The device that a file will run on. A limit that is left out is not checked."""

    name: Annotated[str, Field(pattern=NAME, max_length=60)]
    """Name of the target in results."""
    title: str = ""
    """Short description of the device."""
    sources: Texts = ()
    """Sources of the facts, such as links to data sheets."""
    runtime: Literal["tflm", "litert", "edgetpu", "ethos-u"]
    """Runtime on the device. `ethos-u` is TensorFlow Lite Micro with the NPU's op, on a file compiled by Vela."""
    flash_bytes: PositiveInt | None = None
    """Flash for the file, in bytes."""
    ram_bytes: PositiveInt | None = None
    """RAM of the chip, in bytes."""
    arena_bytes: PositiveInt | None = None
    """RAM available for the tensor arena, in bytes. Default: ram_bytes."""
    inputs: Types | None = None
    """Allowed types of the input."""
    outputs: Types | None = None
    """Allowed types of the output."""
    ops: str | dict[str, OpRule]
    """Supported ops: the name of a built-in table (`tflm`, `litert`, `edgetpu`), or a mapping of ops to rules."""
    static_shapes: bool = True
    """Whether all tensor shapes must be static."""
    per_channel_dense: bool = True
    """Whether dense weights may have one scale per unit."""
    int16x8: bool = True
    """Whether 16-bit data with 8-bit weights is supported."""
    vela: Vela | None = None
    """Vela's options. Required for the runtime `ethos-u`, and not allowed for others."""

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
        """Supported ops by name."""
        rules = _table(self.ops).ops if isinstance(self.ops, str) else self.ops
        return rules | {"ethos-u": OpRule()} if self.vela else rules  # the op that Vela writes

    def evidence(self) -> tuple[str, ...]:
        """Sources of the target and of the op table that it refers to."""
        return (*self.sources, *(_table(self.ops).sources if isinstance(self.ops, str) else ()))

    def checks(self) -> tuple[Check, ...]:
        """The checks that a file must pass to run on this target."""
        return tuple(self._checks())

    def _checks(self) -> Iterator[Check]:
        rules = self.rules()
        yield _check(
            "ops",
            allowed={op: rule.dtypes for op, rule in rules.items()},
            per_channel_dense=self.per_channel_dense,
            int16x8=self.int16x8,
        )
        if versions := {op: rule.max_version for op, rule in rules.items() if rule.max_version}:
            yield _check("op_versions", max=versions)
        if self.inputs or self.outputs:
            yield _check("io", input=self.inputs, output=self.outputs)
        if self.static_shapes:
            yield _check("static_shapes")
        yield from self._memory(self.arena_bytes or self.ram_bytes)

    def _memory(self, ram: int | None) -> Iterator[Check]:
        """Flash and RAM checks; Ethos-U uses Vela's estimates."""
        if self.vela:
            yield _check("npu", max_sram_bytes=ram, max_flash_bytes=self.flash_bytes, **dict(self.vela))
            return
        if self.flash_bytes:
            yield _check("size", max_bytes=self.flash_bytes)
        if ram and self.runtime == "tflm":
            yield _check("arena", max_bytes=ram)


def _check(name: str, **settings: Any) -> Check:
    """The check of that name."""
    return CHECKS.load(name).model_validate({"check": name, **settings})


def names() -> tuple[str, ...]:
    """Names of the built-in targets, sorted."""
    return tuple(sorted(name for name in _stems() if not name.endswith(_TABLE)))


def load(name_or_path: str) -> Target:
    """Load a built-in target by name, or a target from a YAML file. Raises ConfigError with every fault."""
    return _load(name_or_path, ())


def expand(value: Any) -> Any:
    """Turn what a config gives for a target (a name, a path, or settings with `like:`) into settings for Target.

    Raises ConfigError for a name or file that is no target. The fault's field is "like" when `like:` names it.
    """
    return load(value) if isinstance(value, str) else _with_base(value, ())


AnyTarget = Annotated[Target, BeforeValidator(expand, json_schema_input_type=str | Target)]


def _load(name_or_path: str, above: tuple[str, ...]) -> Target:
    """Load a target. above: names and paths of the targets whose `like:` led here, to find cycles."""
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
    """Settings merged over those of the target that `like:` names."""
    if not isinstance(value, dict) or not isinstance(value.get("like"), str):
        return value
    try:
        base = _load(value["like"], above)
    except ConfigError as error:
        raise ConfigError(*(fault if fault.where else replace(fault, field="like") for fault in error.faults)) from None
    own = {key: item for key, item in value.items() if key != "like"}
    return {**base.settings(), "name": f"like-{base.name}", **own}


def placed(value: Any, folder: Path) -> Any:
    """Resolve the path in a target's value, or in its `like:`, against the folder of the file that contains it."""
    if isinstance(value, str):
        return str(folder / expanded(value)) if _is_path(value) else value
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
