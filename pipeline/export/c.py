"""The file as a C array, with the constants and helpers that the code around it needs."""

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Literal, NamedTuple

from pydantic import field_validator

from pipeline import __version__
from pipeline.core.errors import Fault, InputError
from pipeline.data.contract import Contract
from pipeline.export.format import Format
from pipeline.tflite import demands
from pipeline.tflite.graph import Tensor
from pipeline.tflite.model import Model
from pipeline.verify.model_facts import ModelFacts

TYPES = {
    "INT8": "int8_t", "UINT8": "uint8_t", "INT16": "int16_t", "UINT16": "uint16_t", "INT32": "int32_t",
    "UINT32": "uint32_t", "INT64": "int64_t", "UINT64": "uint64_t", "FLOAT32": "float", "BOOL": "bool",
}  # fmt: skip
LIMITS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}  # of what is quantized
BYTES_A_LINE = 12


class Port(NamedTuple):
    """An input or output as the template needs it. scale and zero_point are None where it is not quantized."""

    name: str
    type: str
    dims: tuple[int, ...]
    elements: int
    scale: str | None
    zero_point: int | None
    least: int
    most: int


class C(Format):
    """`<prefix>_model.c` and `<prefix>_model.h`, which compile as C99 and as C++11.

    They hold the file, aligned to 16 bytes; its size, sha256 and arena; names, shapes, types, scales and zero points of
    its inputs and outputs; the labels; and functions that quantize and dequantize as the reference kernels do, without
    a math library. For an input of ids there is a function that copies them, and refuses any that the model lacks.
    """

    format: Literal["c"]
    prefix: str = "edgepipe"
    """Begins every name in the code, so that several models fit into one firmware: small letters, digits and single
    underscores."""

    @field_validator("prefix")
    @classmethod
    def _makes_names(cls, prefix: str) -> str:
        if not re.fullmatch("[a-z](_?[a-z0-9]){0,40}", prefix):
            raise ValueError("must be small letters, digits and single underscores, begin with a letter, and be short")
        return prefix

    def files(self, model: Model, contract: Contract | None, facts: ModelFacts) -> Mapping[str, bytes]:
        import jinja2

        templates = jinja2.Environment(
            loader=jinja2.PackageLoader("pipeline.export", ""),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        signature = model.signature
        context: dict[str, Any] = {
            "version": __version__,
            "prefix": self.prefix,
            "PREFIX": self.prefix.upper(),
            "sha256": model.sha256,
            "bytes": len(model.content),
            "lines": list(_lines(model.content)),
            "arena": facts.arena.smallest if facts.arena else None,
            "inputs": [_port(name, tensor) for name, tensor in signature.inputs.items()],
            "outputs": [_port(name, tensor) for name, tensor in signature.outputs.items()],
            "labels": [literal(label) for label in contract.labels] if contract else [],
            "contract": contract,
            "ids": contract.ids if contract else demands.ids(model),
            "scale": _float(contract.scale) if contract else None,
            "offset": _float(contract.offset) if contract else None,
        }
        name = f"{self.prefix}_model"
        return {
            f"{name}.h": templates.get_template("model.h.j2").render(context).encode("ascii"),
            f"{name}.c": templates.get_template("model.c.j2").render(context).encode("ascii"),
        }


def _port(name: str, tensor: Tensor) -> Port:
    if tensor.dtype not in TYPES or any(size < 1 for size in tensor.shape):
        rule = "inputs and outputs must be numbers of a fixed shape for C code"
        received = f"{tensor.dtype} {tensor.shape} for {name!r}"
        raise InputError(Fault(rule, received=received, do="convert it with a static shape to int8"))
    quantized = tensor.scale is not None and tensor.dtype in LIMITS
    least, most = LIMITS.get(tensor.dtype, (0, 0))
    return Port(
        name=literal(name),
        type=TYPES[tensor.dtype],
        dims=tensor.shape,
        elements=prod(tensor.shape),
        scale=_float(tensor.scale) if quantized and tensor.scale is not None else None,
        zero_point=tensor.zero_point if quantized else None,
        least=least,
        most=most,
    )


def _float(value: float) -> str:
    """A float32 as C writes it: nine digits name each one exactly (IEEE 754, section 5.12.2)."""
    text = f"{value:.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def literal(text: str) -> str:
    """A C string literal of the text in UTF-8. What is not plain ASCII is octal, which ends after three digits."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'


def _lines(content: bytes) -> Iterator[str]:
    """The bytes as C writes them, line by line."""
    for start in range(0, len(content), BYTES_A_LINE):
        yield ", ".join(f"0x{byte:02x}" for byte in content[start : start + BYTES_A_LINE])
