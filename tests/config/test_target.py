"""The target of a config: its faults, and what stages take from it."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import config
from pipeline.core.errors import ConfigError
from pipeline.verify import targets
from tests.support.pipelines import TARGETED


def test_a_wrong_name_is_answered_with_the_right_one(written: Any) -> None:
    with pytest.raises(ConfigError, match="did you mean 'cortex-m4'"):
        targets.load("cortexm4")
    with pytest.raises(
        ConfigError, match=r"(?s)tiny.yaml:2:1: target: there is no such target .* did you mean 'cortex-m4'"
    ):
        config.load(written(TARGETED.format(target="cortexm4")))


def test_faults_of_a_target_in_a_config_are_told_with_all_others(written: Any, tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("name: board\nlike: cortex-m4\nram_byte: 5\nflash_bytes: -1\n")
    text = TARGETED.replace("epochs: 1", "epochs: -1")
    for target, told in {
        "board.yaml": ["board.yaml:3:1: ram_byte: is not a known setting",
                       "board.yaml:4:1: flash_bytes: must be greater than 0 (received -1)"],
        "{like: cortex-m, name: b}": ["tiny.yaml:2:10: target.like: there is no such target (received 'cortex-m')"],
        "{like: cortex-m4, ram_byte: 5}": ["tiny.yaml:2:27: target.ram_byte: is not a known setting"],
        "{name: b, runtime: tflm}": ["tiny.yaml:2:1: target.ops: is required"],
        "5": ["tiny.yaml:2:1: target: must be a mapping of settings (received 5)"],
    }.items():  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            config.load(written(text.format(target=target)))
        lines = str(caught.value)
        assert all(line in lines for line in told), lines
        assert "tiny.yaml:6:20: stages.train.epochs: must be" in lines
        assert len(caught.value.faults) == len(told) + 1


def test_a_set_target_is_told_as_the_option_it_is(written: Any) -> None:
    with pytest.raises(ConfigError, match=r"^--set target=cortexm4: target: there is no such target"):
        config.load(written(TARGETED.format(target="rp2040")), ["target=cortexm4"])


def converted(path: Path, overrides: tuple[str, ...] = ()) -> Any:
    return config.load(path, overrides)[0].stages[1]


def test_convert_takes_from_the_target_what_it_leaves_out(written: Any) -> None:
    stage, other = (converted(written(TARGETED.format(target=target))) for target in ("rp2040", "null"))
    assert (stage.per_channel_dense, stage.io) == (False, "int8")
    assert stage.aimed == {"per_channel_dense": "rp2040", "io": "rp2040"}
    assert (other.per_channel_dense, other.io) == (True, "int8")


def test_a_file_for_litert_alone_keeps_the_int8_ops_that_other_runtimes_lack(written: Any) -> None:
    found = {target: converted(written(TARGETED.format(target=target))) for target in ("android-cpu", "rp2040", "null")}
    assert {target: stage.kernels for target, stage in found.items()} == {
        "android-cpu": "litert", "rp2040": "all", "null": "all",
    }  # fmt: skip
    assert found["android-cpu"].aimed["kernels"] == "android-cpu"


def test_what_convert_says_goes_before_the_target(written: Any) -> None:
    per_tensor = written(TARGETED.format(target="rp2040"))
    assert converted(per_tensor, ("stages.convert.per_channel_dense=true",)).per_channel_dense is True
    assert converted(per_tensor, ("stages.convert.quantization=float32",)).per_channel_dense is True


def test_convert_takes_the_type_of_inputs_that_the_target_knows(written: Any) -> None:
    bytes_only = written(TARGETED.format(target="{like: cortex-m4, name: b, inputs: [uint8, float32]}"))
    assert converted(bytes_only).io == "uint8"
    assert converted(bytes_only, ("stages.convert.io=int8",)).io == "int8"
    assert converted(bytes_only, ("stages.convert.quantization=int16x8",)).io == "float32"


def test_a_target_without_verify_promises_nothing(written: Any) -> None:
    text = TARGETED.format(target="cortex-m4").replace("  - {stage: verify, of: [convert]}\n", "")
    with pytest.raises(ConfigError, match="target: is checked by a verify stage, and there is none"):
        config.load(written(text))
