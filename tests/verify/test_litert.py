"""LiteRT: the same numbers as the runtime's own interpreter, for every kind of file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tflite
from pipeline.core.errors import InputError, StageError
from pipeline.verify.interpreters import litert
from pipeline.verify.interpreters.litert import quantize

Models = dict[str, Path]
KERNELS = ("xnnpack", "builtin", "reference")


@pytest.mark.parametrize("kernels", KERNELS)
def test_raw_output_is_the_interpreters(models: Models, images: Any, kernels: litert.Kernels) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    types = (OpResolverType.BUILTIN, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF)
    resolver = dict(zip(KERNELS, types, strict=True))[kernels]
    interpreter = Interpreter(model_path=str(models["int8"]), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (detail,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    q = quantize(images, *detail["quantization"], "int8")
    expected = []
    for example in q:
        interpreter.set_tensor(detail["index"], example[np.newaxis])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(result["index"])[0])
    raw = litert.Runner(models["int8"], kernels).raw({"image": images})["scores"]
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(raw, expected)


@pytest.mark.parametrize("name", ["float16", "dynamic", "int8", "uint8_io", "float_io", "int16x8", "batch_4"])
def test_every_kind_agrees_with_the_float_model(models: Models, images: Any, name: str) -> None:
    expected = litert.run(models["float32"], images)
    assert expected.shape == (20, 10)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
    found = litert.run(models[name], images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_batch_is_its_examples(models: Models, images: Any) -> None:
    """Also where the file's batch of 4 does not divide 18."""
    for name in ("int8", "batch_4"):
        runner = litert.Runner(models[name], "reference")
        expected = np.concatenate([runner(images[i : i + 1]) for i in range(18)])
        np.testing.assert_array_equal(runner(images[:18]), expected)


def test_sources(models: Models, images: Any) -> None:
    content = models["int8"].read_bytes()
    for source in (models["int8"], str(models["int8"]), content, tflite.read(content)):
        assert litert.run(source, images[:1]).shape == (1, 10)


def test_several_inputs_and_outputs_by_name(models: Models) -> None:
    rng = np.random.default_rng(1)
    inputs = {"zeta": rng.uniform(0.2, 0.8, (5, 4)), "alpha": rng.uniform(0.2, 0.8, (5, 6))}  # calibrated
    found, expected = litert.run(models["multi"], inputs), litert.run(models["multi_float"], inputs)
    assert {name: values.shape for name, values in found.items()} == {"total": (5, 5), "extra": (5, 2)}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=0.15)


def test_state_starts_anew_for_each_example(models: Models) -> None:
    x = np.random.default_rng(2).random((6, 6, 3))
    together = litert.run(models["lstm"], x)
    np.testing.assert_array_equal(together[::-1], litert.run(models["lstm"], x[::-1]))


def streamed(model, x):
    """What `stream` of tests/support/foreign_models.py gives for recordings (n, steps, 4): (n, steps, 3)."""
    weights = next(op for op in tflite.read(model).ops if op.name == "FULLY_CONNECTED").weights[0].data().T
    found = np.empty((*x.shape[:2], 3), np.float32)
    for i, recording in enumerate(x):
        state = np.ones(4, np.float32)
        for step, value in enumerate(recording):
            found[i, step] = np.concatenate([state, value]) @ weights
            state = 0.5 * state + value
    return found


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_resource_variable_has_its_first_value_for_each_example_and_recording(foreign_models, kernels):
    """Whatever ran before, in this interpreter too: `reset_all_variables` alone leaves it as it is."""
    x = np.random.default_rng(2).normal(size=(5, 6, 4)).astype(np.float32)
    runner = litert.Runner(foreign_models["stream"], kernels)
    expected = streamed(foreign_models["stream"], x)
    np.testing.assert_allclose(runner(x), expected, atol=1e-5)
    np.testing.assert_allclose(runner(x[:, 0]), expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(runner(x[::-1]), expected[::-1], atol=1e-5)
    for workers in (1, 3):
        found = litert.raw(foreign_models["stream"], x, kernels, workers)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_recordings_of_a_file_with_variable_tensors(models):
    """An LSTM goes on where the step before it ended: four steps are those of a sequence four times as long."""
    x = np.random.default_rng(2).random((3, 4, 6, 3)).astype(np.float32)
    found = litert.run(models["lstm"], x)
    assert found.shape == (3, 4, 2)
    np.testing.assert_array_equal(found[:, 0], litert.run(models["lstm"], x[:, 0]))
    assert not np.array_equal(found[:, 3], litert.run(models["lstm"], x[:, 3]))


def test_random_numbers_with_a_seed_begin_anew_for_each_example(foreign_models):
    found = litert.run(foreign_models["draws"], np.zeros((3, 4)))
    np.testing.assert_array_equal(found, np.repeat(found[:1], 3, axis=0))
    assert np.unique(found[0]).size == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 5), "takes examples of shape"), ((2, 0, 4), "recordings must have equally many steps, at least one")],
)
def test_recordings_that_do_not_fit(foreign_models, shape, message):
    with pytest.raises(InputError, match=message):
        litert.run(foreign_models["stream"], np.zeros(shape))


def test_a_file_that_can_not_run_at_its_placeholder_runs_at_the_data(foreign_models):
    x = np.random.default_rng(2).random((3, 8, 4)).astype(np.float32)
    np.testing.assert_array_equal(litert.run(foreign_models["open_reshaped"], x), x)
    with pytest.raises(litert.RefusedError, match="LiteRT can't run this model on inputs of 1x7x4"):
        litert.run(foreign_models["open_reshaped"], x[:, :7])
    assert litert.run(foreign_models["open"], np.zeros((2, 9, 7, 1))).shape == (2, 4)


def test_open_dimensions_follow_the_data() -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: bytes, **values: Any) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.shapeSignature = name, [1, 1], [1, -1]
        return made

    root, graph, op, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ABS
    op.inputs, op.outputs = [0], [1]
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor(b"x"), tensor(b"y")], [0], [1], [op]
    root.version, root.operatorCodes, root.subgraphs, root.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(root.Pack(builder), b"TFL3")
    runner = litert.Runner(bytes(builder.Output()))
    assert runner(np.array([[-1.0, 2.0, -3.0]] * 4)).tolist() == [[1.0, 2.0, 3.0]] * 4
    assert runner(np.array([[-5.0]])).tolist() == [[5.0]]


def test_several_workers_give_the_outputs_of_one_in_order(models, images):
    (alone,) = litert.Runner(models["int8"]).raw({"image": images}).values()
    np.testing.assert_array_equal(litert.raw(models["int8"], images, workers=3), alone)


def test_latency(models: Models, images: Any) -> None:
    found = litert.latency(models["int8"], images, runs=20, warmup=2)
    assert found.runs == 20
    assert 0 < found.p50 <= found.p95 < 1000


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 16, 16)), "takes examples of shape (16, 16, 3)"),
        (np.zeros((2, 16, 16, 1)), "takes examples of shape (16, 16, 3)"),
        (np.zeros((0, 16, 16, 3)), "at least one"),
        (np.array(1.0), "at least one"),
        (np.full((1, 16, 16, 3), np.nan), "NaN"),
        ({"picture": np.zeros((1, 16, 16, 3))}, "'image' is missing"),
    ],
)
def test_data_that_does_not_fit(models: Models, x: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        litert.run(models["int8"], x)
    assert message in str(error.value)


def test_names_are_needed_for_several_inputs(models: Models) -> None:
    with pytest.raises(InputError, match="give the data by name"):
        litert.run(models["multi"], np.zeros((1, 4)))
    with pytest.raises(InputError, match="same number of examples"):
        litert.run(models["multi"], {"zeta": np.zeros((1, 4)), "alpha": np.zeros((2, 6))})


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match="not a valid"):
        litert.run(path, np.zeros((1, 1)))


def test_an_op_that_the_runtime_lacks(models: Models) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromPackedBuf(models["float32"].read_bytes())
    code = root.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexErf"
    builder = flatbuffers.Builder(1024)
    builder.Finish(root.Pack(builder), b"TFL3")
    with pytest.raises(InputError, match=r"LiteRT can't run this model.*FlexErf"):
        litert.Runner(bytes(builder.Output()))


def test_a_failure_while_running(models: Models, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = litert.Runner(models["int8"])

    def fail() -> None:
        raise RuntimeError("node 3\n  failed to invoke")

    monkeypatch.setattr(runner._interpreter, "invoke", fail)
    with pytest.raises(StageError, match="node 3 failed to invoke"):
        runner(images)
