"""What a target changes of the keys."""

from pathlib import Path
from typing import Any

from pipeline.config import config
from pipeline.core.store import Store
from pipeline.engine.plan import plan, why_missing
from tests.support.pipelines import TARGETED


def test_the_key_of_convert_holds_what_was_resolved(written: Any) -> None:
    def key_of(target: str, *overrides: str) -> str:
        return plan(*config.load(written(TARGETED.format(target=target)), overrides))[1].key

    assert key_of("null") == key_of("cortex-m4") == key_of("null", "stages.convert.io=int8")
    assert key_of("rp2040") == key_of("esp32-s3") == key_of("null", "stages.convert.per_channel_dense=false")
    assert key_of("rp2040") != key_of("null")


def test_explain_names_the_target_that_changed_a_stage(written: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", print)
    for step in plan(*config.load(written(TARGETED.format(target="null")))):
        store.put(step.key, step.stage.kind, step.identity, lambda work: None)
    step = plan(*config.load(written(TARGETED.format(target="rp2040"))))[1]
    assert why_missing(step, store) == "per_channel_dense true -> false (target rp2040)"
    own = plan(*config.load(written(TARGETED.format(target="rp2040")), ["stages.convert.per_channel_dense=false"]))[1]
    assert why_missing(own, store) == "per_channel_dense true -> false"


def key(path: Path) -> str:
    """Of verify, behind a conversion that no target changes."""
    return plan(*config.load(path, ["stages.convert.per_channel_dense=true", "stages.convert.kernels=all"]))[-1].key


def test_the_key_of_verify_holds_what_the_target_has_measured_and_no_more(written: Any) -> None:
    keys = {
        name: key(written(TARGETED.format(target=name), f"{i}.yaml"))
        for i, name in enumerate(
            ["null", "android-cpu", "coral-edge-tpu", "cortex-m4", "rp2040", "ethos-u55-128", "ethos-u55-256",
             "{like: cortex-m4, ram_bytes: 4096}"]
        )
    }  # fmt: skip
    plain = {keys[name] for name in ("null", "android-cpu", "coral-edge-tpu")}
    boards = {keys[name] for name in ("cortex-m4", "rp2040", "{like: cortex-m4, ram_bytes: 4096}")}
    assert len(plain) == len(boards) == 1  # limits are no part of it, and the arena is measured for all
    assert len({*plain, *boards, keys["ethos-u55-128"], keys["ethos-u55-256"]}) == 4  # runtimes and Vela's devices are
