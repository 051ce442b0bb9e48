"""What a file keeps between invocations, as the converter writes it."""

from dataclasses import replace

import pytest

from pipeline import tflite
from pipeline.tflite.state import state


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("stream", {"resources": ("Variable",)}),
        ("signatures", {"resources": ("Variable",)}),  # in its second subgraph
        ("draws", {"seeded": ("RANDOM_UNIFORM",)}),
        ("dice", {"unseeded": ("RANDOM_UNIFORM",)}),
        ("open", {}),
    ],
)
def test_state_is_seen(foreign_models, name, kept):
    model = tflite.read(foreign_models[name])
    found = {kind: names for kind, names in model.state._asdict().items() if names}
    assert {kind: tuple(name.rstrip("0123456789") for name in names) for kind, names in found.items()} == kept
    assert model.stateful is bool(kept)
    assert model.state.renewed is bool(kept.keys() & {"resources", "seeded"})


def test_variable_tensors_are_state(models):
    found = tflite.read(models["lstm"]).state
    assert len(found.variables) == 2
    assert not found.renewed


def test_a_variable_that_only_the_initialization_assigns_is_a_constant(foreign_models):
    """The stream without the assignment in its own graph: its state keeps the first value."""
    main, *others = tflite.read(foreign_models["stream"]).subgraphs
    assert any(op.name == "ASSIGN_VARIABLE" for graph in others for op in graph.ops)
    fixed = replace(main, ops=tuple(op for op in main.ops if op.name != "ASSIGN_VARIABLE"))
    assert not any(state([fixed, *others]))
