"""The base class of all runtimes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.core.family import Family

if TYPE_CHECKING:  # the report knows runtimes by name, and does not load NumPy
    from pipeline.tflite import Model
    from pipeline.tflite.values import Array


# Costs and budgets follow from ResNet-8 (12.5 M MACs): an image takes 0.15 ms on XNNPACK, 3.5 ms on the reference
# kernels and 7 ms on TFLite Micro. A budget counts MACs and not time, so that the sample is the same on every machine.


class Runtime(ABC):
    """A runtime that can run a .tflite file. It is called in a separate process.

    name    name in `report.json`
    title   name for people
    short   short name, for the head of a column
    cost    time of one multiply-accumulate, divided by that of XNNPACK
    budget  maximum number of multiply-accumulates, about two seconds of one core; None to run all examples
    locks   whether it holds Python's global interpreter lock while it runs, so that threads can't share the examples

    Example of a new runtime, which also needs a line in `RUNTIMES` of the registry::

        class Coral(Runtime):
            name, title, short = "coral", "Edge TPU", "TPU"
            cost, budget = 1, 10**9

            def unavailable(self, model):
                return "" if tpu_is_connected() else "no Edge TPU is connected"

            def run(self, path, inputs):
                return outputs_on_tpu(path, inputs)
    """

    name: ClassVar[str]
    title: ClassVar[str]
    short: ClassVar[str]
    cost: ClassVar[int] = 1
    budget: ClassVar[int | None] = None
    locks: ClassVar[bool] = False

    def unavailable(self, model: "Model") -> str:
        """Reason why this runtime can't run the file; "" when it may be able to."""
        return ""

    @abstractmethod
    def run(self, path: Path, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        """Run the file on inputs (N, ...) by name, and return raw outputs (N, ...) by name. Names are the signature's.

        Raises EdgepipeError for a file that can't be run. The caller turns a crash of the process into one.
        """


RUNTIMES: Family[Runtime] = Family("RUNTIMES")
