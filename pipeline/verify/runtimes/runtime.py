"""A runtime that users ship on: the base class of all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.core.family import Family

if TYPE_CHECKING:  # the report knows runtimes by name, and does not load NumPy
    from pipeline.tflite import Model
    from pipeline.tflite.values import Array


# Costs and budgets follow from ResNet-8 (12.5 M MACs), where an image takes 0.15 ms on XNNPACK, 3.5 ms on the reference
# kernels and 7 ms on TFLite Micro. A budget is a count and not a clock: the sample is the same on every machine.


class Runtime(ABC):
    """Runs files in a process of its own.

    name    in `report.json`
    title   for people
    short   the same in a column's head
    cost    time of a multiply-accumulate, over XNNPACK's
    budget  multiply-accumulates that it is given, about two seconds of a core; None for all examples
    locks   whether it holds Python's lock while it runs, so that processes share the examples and threads can't

    A new one is a file with `run`, and a line in the registry::

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
        """Why it can't run the file; "" when it can be tried."""
        return ""

    @abstractmethod
    def run(self, path: Path, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        """Raw outputs (N, ...) by name, for inputs (N, ...) by name, as the signature names them.

        Raises EdgepipeError for a file that can't be run; a crash is told as one.
        """


RUNTIMES: Family[Runtime] = Family("RUNTIMES")
