"""The preprocessing contract: how an app must prepare its data for a .tflite file. It is stored inside the file.

The contract is a metadata buffer named ``EDGEPIPE_CONTRACT`` with JSON in UTF-8, sorted keys, no spaces. Runtimes do
not load it, because no tensor refers to the buffer. When it is read, its content is treated as untrusted.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import Fault, InputError
from pipeline.data.spec import Whole
from pipeline.data.tasks.task import TaskName

NAME = "EDGEPIPE_CONTRACT"
MOST_BYTES = 1 << 20  # limit of the JSON's size; the 21,843 labels of ImageNet-21k take a third of it
NONE = "the file carries none"

Channels = Literal["rgb", "bgr", "grey"]


class Contract(BaseModel):
    """How raw values become the real values that the model was trained on: ``x * scale + offset``, in float32."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)

    version: Literal[1] = Field(default=1, description="version of this format")
    task: TaskName | None = Field(default=None, description="Task of the model; null if unknown.")
    raw_dtype: str = Field(pattern=r"^(u?int|float)[0-9]{1,3}$", description="Type of the raw values.")
    range: Annotated[tuple[float, float], Field(strict=False)] = Field(
        description="Smallest and largest raw value of the training examples."
    )
    scale: float = Field(description="factor of a raw value")
    offset: float = Field(description="added to the scaled value")
    shape: Annotated[tuple[Annotated[int, Field(gt=0, lt=2**31)], ...], Field(strict=False, max_length=8)] = Field(
        description="Shape of one example, without the batch dimension."
    )
    layout: Literal["NHWC"] | None = Field(default=None, description="Layout of a batch; null if not an image.")
    channels: Channels | None = Field(default=None, description="Channel order; null if not an image.")
    labels: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Names of the outputs, in output order."
    )
    ids: Annotated[int, Field(gt=0, le=2**31)] | None = Field(
        default=None, description="For ids, which the file takes as whole numbers from 0: how many there are."
    )

    @property
    def real_range(self) -> tuple[float, float]:
        """The smallest and the largest real value of the training examples."""
        ends = sorted(end * self.scale + self.offset for end in self.range)
        return ends[0], ends[1]

    @property
    def formula(self) -> str:
        """The formula from raw to real values as text: ``x * 0.00392157``, ``x * 0.00784314 - 1`` or ``x``."""
        text = "x" if self.scale == 1 else f"x * {self.scale:.6g}"
        return text if not self.offset else f"{text} {'-' if self.offset < 0 else '+'} {abs(self.offset):.6g}"

    @property
    def takes(self) -> str:
        """The raw input of an app as text: ``uint8 0 to 255, 32x32x3 rgb, NHWC``."""
        kind = f"{self.raw_dtype} {self.range[0]:g} to {self.range[1]:g}"
        if self.ids:
            kind = f"{self.raw_dtype} ids 0 to {self.ids - 1}"
        image = f" {self.channels}" if self.channels else ""
        return f"{kind}, {'x'.join(map(str, self.shape))}{image}" + (f", {self.layout}" if self.layout else "")

    @property
    def whole(self) -> Whole | None:
        """The whole numbers that the file takes as they are; None if it takes real values."""
        return Whole(self.ids, ids=True) if self.ids else None

    @property
    def named(self) -> bool:
        """Whether the labels are names, and not only the numbers 0, 1, 2, ..."""
        return self.labels != tuple(map(str, range(len(self.labels))))

    def encoded(self) -> bytes:
        """Return the contract as the bytes stored in a file; without `ids` where it says nothing."""
        fields = self.model_dump(mode="json", exclude={"ids"} if self.ids is None else None)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(metadata: Mapping[str, bytes], shapes: Sequence[tuple[int, ...]]) -> tuple[Contract | None, str]:
    """Return the contract in a file's metadata and "", or None and the reason. Never raises, whatever the metadata say.

    shapes: shapes of the file's inputs with their batch dimension. A contract for another shape is refused.
    """
    content = metadata.get(NAME)
    if content is None:
        return None, NONE
    if len(content) > MOST_BYTES:
        return None, f"unreadable: it has {len(content):,} bytes, and {MOST_BYTES:,} is the most"
    try:
        contract = Contract.model_validate_json(content)
    except ValidationError as error:
        return None, f"unreadable: {_reason(error)}"
    if [shape[1:] for shape in shapes] != [contract.shape]:
        wanted = " and ".join(str(shape[1:]) for shape in shapes[:4])
        return None, f"unreadable: it is for examples of shape {contract.shape}, and the file takes {wanted}"
    return contract, ""


def _reason(error: ValidationError) -> str:
    """Return the first validation error as text, without any text from the file."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] in ("json_invalid", "extra_forbidden"):
        return "it is no JSON" if first["type"] == "json_invalid" else "it has a field that is not known"
    field = str(first["loc"][0]) if first["loc"] else ""
    return f"{field}: {first['msg']}" if field else first["msg"]


def require(carried: Contract | None, data: Contract, where: str) -> None:
    """Raise InputError if the data do not fit a file's contract, with a fault for each difference.

    carried  the file's contract; None, if it has none, fits all data
    data     contract of the data that the file is to be measured on
    where    name of the file, for messages
    """
    faults = [Fault(rule, where, received=got, do=do) for rule, got, do in _differences(carried, data)]
    if faults:
        raise InputError(*faults)


def _differences(file: Contract | None, data: Contract) -> Iterator[tuple[str, str, str]]:
    """Yield what the file was made for, what the data are, and what to do about it."""
    if file is None:
        return
    if file.task and data.task and file.task != data.task:
        do = "measure it with the data that it was made for"
        yield f"the file was made for {file.task}", f"data for {data.task}", do
        return
    if not _same_values(file, data):
        yield (
            f"the file was made for {_values(file)}",
            f"{_values(data)} from the data",
            f"give the data `scale: {file.scale:.9g}` and `offset: {file.offset:.9g}`, or leave out both",
        )
    if file.channels and data.channels and file.channels != data.channels:
        do = f"give the data in that order and `channels: {file.channels}`"
        yield f"the file was made for {file.channels} images", f"{data.channels} from the data", do
    if len(file.labels) != len(data.labels) or (file.named and data.named and file.labels != data.labels):
        yield f"the file's labels are {_listed(file)}", f"{_listed(data)} from the data", "name the same in that order"


def _same_values(file: Contract, data: Contract) -> bool:
    """Return whether both preprocess alike: the same formula or, for different raw types, about the same real range."""
    if file.ids or data.ids:
        return file.ids == data.ids
    if file.raw_dtype == data.raw_dtype:
        pairs = ((file.scale, data.scale), (file.offset, data.offset))
        return all(math.isclose(one, other, rel_tol=1e-6) for one, other in pairs)
    (low, high), (other_low, other_high) = file.real_range, data.real_range
    most = 0.5 * (high - low)  # tolerance: other examples need not cover the whole range
    return abs(low - other_low) <= most and abs(high - other_high) <= most


def _values(contract: Contract) -> str:
    if contract.ids:
        return f"ids 0 to {contract.ids - 1}"
    low, high = contract.real_range
    return f"{contract.formula} of {contract.raw_dtype}, {low:.4g} to {high:.4g}"


def _listed(contract: Contract) -> str:
    shown = ", ".join(map(repr, contract.labels[:6])) + (", ..." if len(contract.labels) > 6 else "")
    return f"{len(contract.labels)} ({shown[:200]})"
