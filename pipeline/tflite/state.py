"""What a file keeps from one invocation to the next, so that its outputs depend on the order of the examples."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.tflite.graph import Op, Subgraph

DRAWS = frozenset({"RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"})


class State(NamedTuple):
    """The names of what keeps a value. All are empty for a file whose outputs depend on its inputs alone.

    variables  variable tensors, such as the state of an LSTM. Interpreters can reset them
    resources  resource variables that the file assigns. A new interpreter alone gives them their first values
    seeded     random ops with a seed: each draw follows from the one before. A new interpreter begins anew
    unseeded   random ops without a seed, which nothing can reset
    """

    variables: tuple[str, ...]
    resources: tuple[str, ...]
    seeded: tuple[str, ...]
    unseeded: tuple[str, ...]

    @property
    def renewed(self) -> bool:
        """Whether a reset needs a new interpreter: measured, `reset` of LiteRT leaves resource variables as they are,
        and that of TFLite Micro sets them to zero, whatever their first values were."""
        return bool(self.resources or self.seeded)


def state(subgraphs: Sequence[Subgraph]) -> State:
    """Return what a file keeps. A resource variable that only the initialization assigns (CALL_ONCE) is a constant."""
    first = _initialization(subgraphs)
    ops = [op for graph in subgraphs if graph.index not in first for op in graph.ops]
    kept = (op.reads[0].name for op in ops if op.name == "ASSIGN_VARIABLE" and op.reads)
    return State(
        variables=_once(tensor.name for graph in subgraphs for tensor in graph.tensors if tensor.variable),
        resources=_once(kept),
        seeded=_once(op.name for op in ops if op.name in DRAWS and op.seed),
        unseeded=_once(op.name for op in ops if op.name in DRAWS and not op.seed),
    )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _initialization(subgraphs: Sequence[Subgraph]) -> set[int]:
    """Return the indices of the subgraphs that run only as a part of initialization."""
    ops: list[Op] = [op for graph in subgraphs for op in graph.ops]
    found = {index for op in ops if op.name == "CALL_ONCE" for index in op.calls}
    waiting = [*found]
    while waiting:
        inner = {index for op in subgraphs[waiting.pop()].ops for index in op.calls} - found
        found |= inner
        waiting += inner
    return found - {index for op in ops if op.subgraph not in found for index in op.calls if op.name != "CALL_ONCE"}
