"""Targets: their data, the checks that follow, and what these make of files that fit and files that do not."""

import functools
import gzip
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline import tflite
from pipeline.config import config
from pipeline.core.errors import ConfigError, StageError
from pipeline.tflite import demands
from pipeline.verify import targets, vela
from pipeline.verify.checks.arena import Arena
from pipeline.verify.checks.npu import Npu
from pipeline.verify.device import Asked, asked
from pipeline.verify.model_facts import CheckResult, LayerFacts, ModelFacts, Port
from pipeline.verify.targets import Target
from tests.support.pipelines import TARGETED

NAMES = (
    "android-cpu", "coral-edge-tpu", "cortex-m4", "cortex-m55", "cortex-m7", "esp32-s3", "ethos-u55-128",
    "ethos-u55-256", "ios-cpu", "rp2040",
)  # fmt: skip
VELA = vela.installed() != "not installed"


def facts(path: Path, target: Target | None = None) -> ModelFacts:
    """What verify measures of a file for a target, without data and accuracy."""
    model = tflite.read(path)
    ports = {what: _port(tensors) for what, tensors in (("input", model.inputs), ("output", model.outputs))}
    found = ModelFacts(
        name=path.stem,
        file=path.name,
        sha256=model.sha256,
        bytes=model.bytes,
        gzip_bytes=len(gzip.compress(model.content)),
        verified=True,
        op_versions=demands.op_versions(model),
        op_dtypes=demands.op_dtypes(model),
        dynamic=demands.dynamic(model),
        layers=tuple(LayerFacts(**asdict(layer)) for layer in model.layers()),
        **ports,
    )
    return found.model_copy(update=measured(path, asked(target.checks())) if target else {})


@functools.cache
def measured(path: Path, wanted: Asked) -> dict[str, Any]:
    """The same for all targets that ask for the same."""
    return wanted.measure(path)


def _port(tensors: Any) -> Port:
    (tensor,) = tensors
    return Port(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype)


def judged(target: Target, model: ModelFacts) -> dict[str, CheckResult]:
    """Results by what they are about."""
    return {result.what: result for check in target.checks() for result in check.judge(model, None)}


def failed(target: Target, model: ModelFacts) -> set[str]:
    return {what for what, result in judged(target, model).items() if result.status == "fail"}


def test_the_built_in_targets() -> None:
    assert targets.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_target_names_its_sources_and_is_complete(name: str) -> None:
    target = targets.load(name)
    assert target.name == name
    assert target.title
    assert target.sources
    assert all(source.startswith("https://") for source in target.sources)
    assert target.rules()
    memory = target.flash_bytes is not None and target.ram_bytes is not None
    assert memory == (target.runtime in ("tflm", "ethos-u"))
    assert (target.vela is not None) == name.startswith("ethos")
    assert Target.model_validate(target.settings()) == target  # what the resolved config holds


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_fits_and_one_that_does_not(nets: Path, name: str) -> None:
    target = targets.load(name)
    results = judged(target, facts(nets / "per_tensor.tflite", target))
    missing = {what for what, result in results.items() if result.status == "unavailable"}
    npu = {"ops on the NPU", "SRAM by Vela", "flash by Vela"} if target.vela and not VELA else set()
    assert {what for what, result in results.items() if result.status == "fail"} == set()
    assert missing == npu
    bad = judged(target, facts(nets / "custom.tflite", target))
    assert bad["ops without a kernel"].status == "fail"
    assert bad["ops without a kernel"].why == "Erf is not there"


def test_what_is_wrong_with_a_file_is_told_in_full(nets: Path) -> None:
    target = targets.load("cortex-m4")
    results = judged(target, facts(nets / "custom.tflite", target))
    assert results["tensors of open shape"].why.startswith(
        "serving_default_x:0 -1x4; PartitionedCall:0 -1x4; give the converter the whole shape"
    )
    assert results["arena"].status == "fail"
    assert results["arena"].value == "does not run"
    assert "CUSTOM" in results["arena"].why


def test_the_arena_is_held_to_the_ram(nets: Path) -> None:
    pytest.importorskip("tflite_micro")
    target = targets.load("cortex-m4")
    model = facts(nets / "ds_cnn_int8.tflite", target)
    assert model.arena is not None
    assert model.arena_bytes == model.arena.total == model.arena.head + model.arena.tail
    fits = target.model_copy(update={"arena_bytes": model.arena.smallest})
    assert failed(fits, model) == set()
    small = target.model_copy(update={"arena_bytes": model.arena.smallest - 1})
    assert failed(small, model) == {"arena"}


def test_flash_is_held_to_the_size_of_the_file(nets: Path) -> None:
    target = targets.load("android-cpu").model_copy(update={"flash_bytes": 300_000})
    assert failed(target, facts(nets / "autoencoder_float32.tflite")) == {"file size"}
    assert failed(target, facts(nets / "ds_cnn_int8.tflite")) == set()


def test_older_runtimes_refuse_dense_weights_with_a_scale_for_each_unit(nets: Path) -> None:
    for name in ("rp2040", "esp32-s3", "coral-edge-tpu"):
        found = failed(targets.load(name), facts(nets / "resnet8_int8.tflite", targets.load(name)))
        assert found == {"dense weights with a scale for each unit"}


def test_types_of_data_count(nets: Path) -> None:
    model = facts(nets / "resnet8_float32.tflite")
    coral = judged(targets.load("coral-edge-tpu"), model)
    assert coral["input type"].status == coral["output type"].status == "fail"
    assert coral["input type"].limit == "int8 or uint8"
    assert coral["ops without a kernel"].why.startswith("ADD does not take float32; AVERAGE_POOL_2D does not take")
    hybrid = model.model_copy(update={"op_dtypes": {"CONV_2D": ("float32xint8",), "EXP": ("int8",)}})
    tflm = judged(targets.load("cortex-m7"), hybrid)["ops without a kernel"]
    assert tflm.why == "CONV_2D does not take float32xint8; EXP does not take int8"
    assert tflm.value == 2
    wide = model.model_copy(update={"op_dtypes": {"CONV_2D": ("int16xint8",)}})
    assert "ops without a kernel" not in failed(targets.load("cortex-m7"), wide)
    narrow = targets.load("android-cpu").model_copy(update={"int16x8": False})
    assert "ops without a kernel" in failed(narrow, wide)


def test_a_later_version_than_the_runtime_knows(nets: Path) -> None:
    model = facts(nets / "resnet8_int8.tflite").model_copy(update={"op_versions": {"CONV_2D": 6, "ADD": 1}})
    result = judged(targets.load("coral-edge-tpu"), model)["ops of a later version"]
    assert result.status == "fail"
    assert result.why == "CONV_2D is of version 6, and 5 is known"
    assert failed(targets.load("ios-cpu"), model) == set()


def test_litert_knows_every_op_of_its_table_in_that_version() -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    def loads(name: str, version: int) -> bool:
        code, graph, tensor = schema.OperatorCodeT(), schema.SubGraphT(), schema.TensorT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), version
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        tensor.shape, tensor.name = [1], b"x"
        graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
        builder = flatbuffers.Builder(256)
        builder.Finish(model.Pack(builder), b"TFL3")
        try:
            Interpreter(model_content=bytes(builder.Output()))
        except ValueError:
            return False
        return True

    rules = targets.load("android-cpu").rules()
    assert [name for name, rule in rules.items() if not loads(name, rule.max_version or 1)] == []
    assert not loads("FULLY_CONNECTED", 99)


def test_a_board_is_like_a_target_with_changes(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text("name: board\nlike: cortex-m4\nram_bytes: 65536\n")
    target = targets.load(str(board))
    assert (target.name, target.ram_bytes, target.flash_bytes) == ("board", 65536, 1048576)
    (tmp_path / "next.yaml").write_text("like: board.yaml\nflash_bytes: 4096\n")
    following = targets.load(str(tmp_path / "next.yaml"))
    assert (following.name, following.ram_bytes, following.flash_bytes) == ("like-board", 65536, 4096)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: b\nruntime: tflm\nops: tflm\nram: 3\n", "4:1: ram: is not a known setting"),
        ("name: b\nops: tflm\n", "1:1: runtime: is required"),
        ("name: b\nruntime: tflm\nops: tflm\nram_bytes: 0\n", "4:1: ram_bytes: must be greater than 0"),
        ("name: b\nruntime: tflm\nops: tfml\n", "there is no such table of ops; did you mean 'tflm'?"),
        ("name: b\nruntime: ethos-u\nops: tflm\n", "vela: must be given for the runtime ethos-u"),
        ("like: cortex-m4\narena_bytes: 999999\n", "arena_bytes: must be at most ram_bytes"),
        ("like: cortex-m5\n", "1:1: like: there is no such target (received 'cortex-m5')"),
        ("like: board.yaml\n", "1:1: like: is like itself"),
        ("- cortex-m4\n", "1:1: must be a"),
    ],
)
def test_faults_of_a_target_file_have_their_place(tmp_path: Path, text: str, said: str) -> None:
    board = tmp_path / "board.yaml"
    board.write_text(text)
    with pytest.raises(ConfigError) as caught:
        targets.load(str(board))
    assert said in str(caught.value)


def test_only_an_npu_takes_what_vela_compiled() -> None:
    assert "ethos-u" in targets.load("ethos-u55-128").rules()
    assert "ethos-u" not in targets.load("cortex-m55").rules()


def test_verify_runs_the_checks_of_the_target(written: Any, nets: Path, tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("name: board\nlike: cortex-m4\n")
    verify = config.load(written(TARGETED.format(target="board.yaml")))[0].stages[-1]
    model = facts(nets / "per_tensor.tflite", targets.load("cortex-m4"))
    (tmp_path / "measured.json").write_text(f"[{model.model_dump_json()}]")
    results = verify.judge(tmp_path)
    assert {result.model for result in results} == {"convert"}
    assert "arena for board" in {result.what for result in results}
    assert all(result.what.endswith(" for board") for result in results)


def test_checks_without_a_measurement_are_unavailable(nets: Path) -> None:
    model = facts(nets / "per_tensor.tflite")
    (arena,) = Arena(check="arena", max_bytes=1).judge(model, None)
    (npu,) = Npu(check="npu", accelerator="ethos-u55-128").judge(model, None)
    assert (arena.status, npu.status) == ("unavailable", "unavailable")
    assert arena.why == "not measured"
    assert npu.why == "not measured: no target or check asks for it"


@pytest.mark.skipif(VELA, reason="Vela is installed")
def test_without_vela_the_reason_says_what_to_install(nets: Path) -> None:
    found = asked(targets.load("ethos-u55-128").checks()).measure(nets / "ds_cnn_int8.tflite")
    assert found["vela_why"] == "Vela is not installed; pip install edgepipe[vela]"
    assert "vela" not in found


@pytest.mark.skipif(not VELA, reason="Vela is not installed: pip install edgepipe[vela]")
class TestVela:
    def test_it_estimates_an_int8_file(self, nets: Path) -> None:
        found = vela.estimate(nets / "resnet8_int8.tflite", "ethos-u55-128", "Ethos_U55_High_End_Embedded")
        assert (found.npu_share, found.cpu_ops, found.memory_mode) == (1.0, (), "Shared_Sram")
        assert 40_000 < found.sram_bytes < 60_000
        assert 60_000 < found.flash_bytes < 93_576
        assert found.cycles is not None
        assert 100_000 < found.cycles < 400_000
        assert found.inferences_per_second == pytest.approx(500e6 / found.cycles, rel=0.01)

    def test_it_ends_well_when_nothing_runs_on_the_npu_and_we_do_not(self, nets: Path) -> None:
        target = targets.load("ethos-u55-256")
        model = facts(nets / "ds_cnn_float32.tflite", target)
        assert model.vela is not None
        assert (model.vela.npu_share, model.vela.cycles) == (0.0, None)
        result = judged(target, model)["ops on the NPU"]
        assert result.status == "fail"
        assert result.why.startswith("on the CPU: AVERAGE_POOL_2D, CONV_2D")

    def test_a_file_that_it_fails_on(self, tmp_path: Path) -> None:
        bad = tmp_path / "bad.tflite"
        bad.write_bytes(bytes(100))
        with pytest.raises(StageError, match="Vela failed on this file"):
            vela.estimate(bad, "ethos-u55-128")

    def test_more_macs_are_faster(self, nets: Path) -> None:
        slow, fast = (vela.estimate(nets / "ds_cnn_int8.tflite", f"ethos-u55-{macs}") for macs in (128, 256))
        assert (slow.cycles or 0) > (fast.cycles or 0) > 0
