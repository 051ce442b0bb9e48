"""The preprocessing contract: what an app has to do before it gives its data to a .tflite file, carried by the file.

It is one buffer of the file's metadata under the name ``EDGEPIPE_CONTRACT``: JSON in UTF-8, with sorted keys and no
spaces. Runtimes load no buffer that no tensor names. Who reads a contract takes it from a file that nobody vouches for.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import Fault, InputError
from pipeline.data.tasks.task import TaskName

NAME = "EDGEPIPE_CONTRACT"
MOST_BYTES = 1 << 20  # of the JSON: the 21,843 labels of ImageNet-21k take a third of it
NONE = "the file carries none"

Channels = Literal["rgb", "bgr", "grey"]


class Contract(BaseModel):
    """How raw values become the real values that the model was trained on: ``x * scale + offset``, in float32."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    version: Literal[1] = 1
    task: TaskName | None = Field(default=None, description="null when it is not known")
    raw_dtype: str = Field(pattern=r"^(u?int|float)[0-9]{1,3}$", description="of the raw values")
    range: Annotated[tuple[float, float], Field(strict=False)] = Field(
        description="least and greatest raw value of the training examples"
    )
    scale: float
    offset: float
    shape: Annotated[tuple[Annotated[int, Field(gt=0, lt=2**31)], ...], Field(strict=False, max_length=8)] = Field(
        description="of one example, without the batch dimension"
    )
    layout: Literal["NHWC"] | None = Field(default=None, description="of a batch; null for what is no image")
    channels: Channels | None = Field(default=None, description="their order; null for what is no image")
    labels: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="of the outputs, in their order"
    )

    @property
    def real_range(self) -> tuple[float, float]:
        """The least and the greatest real value of the training examples."""
        ends = sorted(end * self.scale + self.offset for end in self.range)
        return ends[0], ends[1]

    @property
    def formula(self) -> str:
        """``x * 0.00392157``, ``x * 0.00784314 - 1`` or ``x``: real values of raw ones."""
        text = "x" if self.scale == 1 else f"x * {self.scale:.6g}"
        return text if not self.offset else f"{text} {'-' if self.offset < 0 else '+'} {abs(self.offset):.6g}"

    @property
    def takes(self) -> str:
        """What an app starts from: ``uint8 0 to 255, 32x32x3 rgb, NHWC``."""
        kind = f"{self.raw_dtype} {self.range[0]:g} to {self.range[1]:g}"
        image = f" {self.channels}" if self.channels else ""
        return f"{kind}, {'x'.join(map(str, self.shape))}{image}" + (f", {self.layout}" if self.layout else "")

    @property
    def named(self) -> bool:
        """The labels are names and not just their numbers."""
        return self.labels != tuple(map(str, range(len(self.labels))))

    def encoded(self) -> bytes:
        """As a file carries it."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()


def read(metadata: Mapping[str, bytes], shapes: Sequence[tuple[int, ...]]) -> tuple[Contract | None, str]:
    """The contract among a file's metadata, or None with the reason. Never raises: nobody vouches for what it says.

    shapes: of the file's inputs, with their batch dimension; a contract for another one is not this file's.
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
    """The first finding, without any text of the file."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] in ("json_invalid", "extra_forbidden"):
        return "it is no JSON" if first["type"] == "json_invalid" else "it has a field that is not known"
    field = str(first["loc"][0]) if first["loc"] else ""
    return f"{field}: {first['msg']}" if field else first["msg"]


def require(carried: Contract | None, data: Contract, where: str) -> None:
    """InputError with every difference between a file's contract and the data that it is to be measured on."""
    faults = [Fault(rule, where, received=got, do=do) for rule, got, do in _differences(carried, data)]
    if faults:
        raise InputError(*faults)


def _differences(file: Contract | None, data: Contract) -> Iterator[tuple[str, str, str]]:
    """What the file was made for, what the data gives, and what to do."""
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
            f"give the data `scale: {file.scale:.9g}` and `offset: {file.offset:.9g}`, or raw values as the file's",
        )
    if file.channels and data.channels and file.channels != data.channels:
        do = f"give the data in that order and `channels: {file.channels}`"
        yield f"the file was made for {file.channels} images", f"{data.channels} from the data", do
    if len(file.labels) != len(data.labels) or (file.named and data.named and file.labels != data.labels):
        yield f"the file's labels are {_listed(file)}", f"{_listed(data)} from the data", "name the same in that order"


def _same_values(file: Contract, data: Contract) -> bool:
    """Raw values go through the same formula; or, stored in another type, they end up in about the same range."""
    if file.raw_dtype == data.raw_dtype:
        pairs = ((file.scale, data.scale), (file.offset, data.offset))
        return all(math.isclose(one, other, rel_tol=1e-6) for one, other in pairs)
    (low, high), (other_low, other_high) = file.real_range, data.real_range
    most = 0.5 * (high - low)  # examples of another day need not reach both ends
    return abs(low - other_low) <= most and abs(high - other_high) <= most


def _values(contract: Contract) -> str:
    low, high = contract.real_range
    return f"{contract.formula} of {contract.raw_dtype}, {low:.4g} to {high:.4g}"


def _listed(contract: Contract) -> str:
    shown = ", ".join(map(repr, contract.labels[:6])) + (", ..." if len(contract.labels) > 6 else "")
    return f"{len(contract.labels)} ({shown[:200]})"
