"""Files that mean harm: made by the thousand from real ones by seed, and a few by hand that ask for too much."""

import copy
import json
import random
import resource
from collections import Counter

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline import tflite
from pipeline.audit import examples, inspection
from pipeline.audit import model_file as audited
from pipeline.core import processes
from pipeline.core.errors import InputError
from tests.support import fuzz
from tests.support.edits import edited


@pytest.fixture(scope="module")
def outcomes(models, tmp_path_factory):
    """Of 2,000 files on all runtimes; 3,000 more meet the reader in tests/tflite/test_reading.py."""
    seeds = [models[name] for name in fuzz.SEEDS]
    return list(fuzz.outcomes(fuzz.make(seeds, tmp_path_factory.mktemp("hostile"), 2000, seed=30)))


def test_no_file_shows_a_bug(outcomes):
    assert len(outcomes) == 2000
    assert not [f"{each.path}: {each.why}" for each in outcomes if each.what == "bug"]
    counts = Counter(each.what for each in outcomes)
    assert min(counts["refused"], counts["ran"], counts["not run"], counts["ended"]) > 0, counts


def test_a_file_that_ends_its_process_is_exit_code_3(edgepipe, outcomes, tmp_path):
    """What the fuzzing process saw, a user sees as one sentence."""
    ended = [each.path for each in outcomes if each.what == "ended" and "SIGXCPU" not in each.why][:3]
    for path in ended:
        code, out, err = edgepipe("inspect", path, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["bytes"] == path.stat().st_size
        rng = np.random.default_rng(0)
        ports = tflite.read(path).signature.inputs
        np.savez(tmp_path / "x.npz", **{name: rng.random((2, *t.shape[1:]), np.float32) for name, t in ports.items()})
        code, out, err = edgepipe("verify", path, "--data", "x.npz")
        assert "Traceback" not in err
        if code:
            assert (code, out) == (3, "")
            assert f"\nerror: {path}: " in err
        else:  # it ends the reference kernels or TFLM alone, or LiteRT refuses it before they are tried
            assert any(reason in " ".join(out.split()) for reason in ("was killed", "can't run this model"))


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "hostile.tflite"
        path.write_bytes(content)
        return path

    return write


def long_name(root):
    """Of 100 MB, in as many parts as the converter never fused."""
    root.subgraphs[0].tensors[0].name = b"a;b/c/d;" * (100 << 17)


def many_ops(root):
    graph = root.subgraphs[0]
    op, output = graph.operators[-1], graph.tensors[graph.operators[-1].outputs[0]]
    for _ in range(10_000):
        graph.tensors.append(output)
        graph.operators.append(copy.copy(op))
        graph.operators[-1].outputs = [len(graph.tensors) - 1]


def deep_loops(root):
    """900 loops, each in the body of the one before."""
    condition, body = root.subgraphs[1:]
    loop = root.subgraphs[0].operators[0]
    for index in range(3, 900):
        root.subgraphs.append(copy.deepcopy(root.subgraphs[0]))
        root.subgraphs[-1].operators[0].builtinOptions.bodySubgraphIndex = index + 1
    loop.builtinOptions.bodySubgraphIndex = 3
    root.subgraphs.append(body)
    assert condition is root.subgraphs[1]


@pytest.mark.parametrize(("name", "edit"), [("int8", long_name), ("int8", many_ops), ("loop", deep_loops)])
def test_a_file_that_asks_for_much_is_read_within_limits(models, edgepipe, file, name, edit):
    path = file(edited(models[name], edit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, err = edgepipe("inspect", path)
    assert code in (0, 3)
    assert err.startswith(f"error: {path}: ") if code else err == ""
    assert len(out) < 30_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_reading_ends_at_its_limits(models, file):
    path = file(edited(models["int8"], many_ops))
    with pytest.raises(InputError, match=r"hostile.tflite: reading it must end within 0.01 s"):
        inspection.inspect(path, processes.Limits(seconds=0.01))
    with pytest.raises(InputError, match=r"hostile.tflite: .*(no memory left|does not fit into memory|was killed)"):
        inspection.inspect(path, processes.Limits(seconds=60, memory=4 << 20))
    with pytest.raises(InputError, match=r"hostile.tflite: reading it must tell less than 1 MiB"):
        inspection.inspect(path, processes.Limits(seconds=60, message=1 << 20))


def wide(root):
    """An intermediate tensor of 100 GiB."""
    op = root.subgraphs[0].operators[0]
    root.subgraphs[0].tensors[op.outputs[0]].shape = [1, 100, 1 << 20, 1 << 10]


def endless(root):
    """The loop ends at 2^31 - 1."""
    for buffer in root.buffers:
        if buffer.data is not None and len(buffer.data) == 4 and buffer.data[0] == 3:
            buffer.data = np.array([2**31 - 1], "<i4").view(np.uint8)


@pytest.mark.parametrize(
    ("name", "edit", "limits", "message"),
    [
        ("int8", wide, audited.LIMITS, r"must fit into 8.00 GiB of memory to be run \(received 100.00 GiB"),
        (
            "loop",
            endless,
            processes.Limits(seconds=4, memory=1 << 30),
            r"must end within 4 s \(received no end by then\)",
        ),
    ],
)
def test_a_run_ends_at_its_limits(models, file, tmp_path, name, edit, limits, message):
    path = file(edited(models[name], edit))
    shapes = {name: tensor.shape for name, tensor in tflite.read(path).signature.inputs.items()}
    np.savez(tmp_path / "x.npz", **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    with pytest.raises(InputError, match=f"hostile.tflite: .*{message}"):
        audited.verify(path, examples.load(str(tmp_path / "x.npz")), None, audited.Promises(), limits)


def test_control_characters_do_not_reach_the_terminal(models, edgepipe, file):
    def edit(root):
        for tensor in root.subgraphs[0].tensors:
            tensor.name = b"\x1b[2J[red]x\x07\n"

    code, out, _ = edgepipe("inspect", file(edited(models["int8"], edit)))
    assert code == 0
    assert "\x1b" not in out
    assert "[red]x" in out


def test_json_has_no_nan(models, edgepipe, file):
    def edit(root):
        for tensor in root.subgraphs[0].tensors:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [float("nan")], [0]

    _, out, _ = edgepipe("inspect", file(edited(models["int8"], edit)), "--json")
    assert "NaN" not in out
    assert json.loads(out)["inputs"][0]["scale"] is None


def test_the_same_seed_makes_the_same_files(models):
    content = models["lstm"].read_bytes()
    assert fuzz.change(content, random.Random(5)) == fuzz.change(content, random.Random(5))
