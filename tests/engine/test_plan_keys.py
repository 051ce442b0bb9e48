"""Keys: what changes them, and why a step is not in the store. Nothing runs here."""

import shutil

import numpy as np
import pytest

from pipeline.config import config
from pipeline.core.errors import InputError
from pipeline.core.store import Store, key_of
from pipeline.engine import history, plan
from pipeline.stages import step as steps_of
from tests import ROOT
from tests.support.described import dense, network
from tests.support.pipelines import HEAD, STAGES
from tests.support.tree import Tree

DIGITS = ROOT / "configs" / "digits.yaml"


def keys(steps):
    return {name: step.key for name, step in steps.items()}


def changed(old, new):
    assert old.keys() == new.keys()
    return [name for name in old if old[name].key != new[name].key]


def test_names_comments_order_and_checks_change_no_key(planned):
    old = planned(STAGES)
    text = (
        STAGES.replace("{stage: train, epochs: 3}", "{epochs: 3, name: other, stage: train} # a comment")
        .replace("min: 0.5", "min: 0.9")
        .replace("sparsity: 0.5, epochs: 2", "epochs: 2, from: other, sparsity: 0.5, batch_size: 32")
    )
    new = planned("model: {source: small_cnn}\nname: another\ndata: {source: digits}\nstages:\n" + text)
    assert list(keys(new).values()) == list(keys(old).values())


def test_equal_stages_share_a_key(planned):
    steps = planned(STAGES + "  - {stage: convert, name: twin, from: prune, quantization: int8}\n")
    assert steps["twin"].key == steps["small"].key
    assert len(set(keys(steps).values())) == len(steps) - 1


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("seed=1", ["train", "float", "prune", "small", "verify"]),
        ("model.filters=8", ["train", "float", "prune", "small", "verify"]),
        ("data.splits.test=0.3", ["train", "float", "prune", "small", "verify"]),
        ("data.split_seed=1", ["train", "float", "prune", "small", "verify"]),
        ("stages.prune.sparsity=0.6", ["prune", "small", "verify"]),
        ("stages.small.calibration.samples=50", ["small", "verify"]),
        ("stages.float.quantization=float16", ["float", "verify"]),
        ("stages.verify.checks.accuracy.min=0.9", []),
        ("stages.verify.checks=[{check: integer_only}]", []),
    ],
)
def test_a_setting_changes_the_keys_of_what_depends_on_it_and_no_other(planned, option, names):
    assert changed(planned(STAGES), planned(STAGES, option)) == names


def test_the_sparsity_of_digits_yaml_decides_prune_qat_small_and_verify():
    old, new = (
        {step.name: step for step in plan.plan(*config.load(DIGITS, overrides))}
        for overrides in ([], ["stages.prune.sparsity=0.7"])
    )
    assert changed(old, new) == ["prune", "qat", "small", "verify"]


NPZ = "name: a\ndata: {source: npz, path: %s}\nmodel: {source: small_cnn}\nstages:\n" + STAGES


def save_npz(path, seed=0):
    random = np.random.default_rng(seed)
    np.savez(path, x_train=random.integers(0, 255, (60, 8, 8, 1), dtype=np.uint8), y_train=np.arange(60) % 3)


def test_data_counts_by_its_content_and_not_by_its_path(planned, tmp_path):
    save_npz(tmp_path / "one.npz")
    shutil.copy(tmp_path / "one.npz", tmp_path / "two.npz")
    one, two = planned(NPZ % "one.npz"), planned(NPZ % "two.npz")
    assert keys(one) == keys(two)
    save_npz(tmp_path / "two.npz", seed=1)
    assert changed(one, planned(NPZ % "two.npz")) == list(one)


def test_a_model_file_counts_by_its_content_and_not_by_its_path(planned, tmp_path):
    text = HEAD.replace("small_cnn", "file, path: %s") + STAGES
    network(tmp_path / "one.h5", [dense(10)])
    shutil.copy(tmp_path / "one.h5", tmp_path / "two.h5")
    one, two = planned(text % "one.h5"), planned(text % "two.h5")
    assert keys(one) == keys(two)
    network(tmp_path / "two.h5", [dense(10, "other")])
    assert changed(one, planned(text % "two.h5")) == list(one)


def test_the_versions_of_libraries_count_for_the_stages_that_they_decide(planned, monkeypatch):
    old, real = planned(STAGES), steps_of.installed

    def upgraded(name):
        return "99.0" if name == "ai-edge-litert" else real(name)

    monkeypatch.setattr(steps_of, "installed", upgraded)
    assert changed(old, planned(STAGES)) == ["verify"]


def test_a_library_that_is_not_installed_is_told_and_is_no_crash():
    assert steps_of.installed("no-such-distribution") == "not installed"


def test_keys_are_those_of_every_process_and_change_with_the_code(planned, tmp_path):
    here, tree, path = keys(planned(STAGES)), Tree(tmp_path / "copy"), tmp_path / "tiny.yaml"
    assert tree.keys(path) == here
    with (tree.package / "stages" / "prune.py").open("a") as file:
        file.write("\n# a comment\n")
    assert tree.keys(path) == here
    with (tree.package / "stages" / "prune.py").open("a") as file:
        file.write("\nMORE = 1\n")
    there = tree.keys(path)
    assert [name for name in here if here[name] != there[name]] == ["prune", "small", "verify"]


@pytest.fixture
def why(planned, tmp_path):
    """Why each step is missing in a store that holds STAGES, after overrides."""
    store = Store(tmp_path / "store")
    for step in planned(STAGES).values():
        store.put(step.key, step.stage.kind, step.identity, lambda work: (work / "file").touch())

    def explain(*overrides):
        steps = planned(STAGES, *overrides)
        return {name: plan.why_missing(step, store) for name, step in steps.items() if store.get(step.key) is None}

    explain.store = store
    return explain


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("seed=1", {"train": "seed 0 -> 1", "prune": "reads train, which changed; seed 0 -> 1"}),
        ("model.filters=8", {"train": "model.filters 16 -> 8", "prune": "reads train, which changed"}),
        ("data.splits.test=0.3", {"train": "data.splits.test 0.2 -> 0.3"}),
        ("stages.prune.sparsity=0.6", {"prune": "sparsity 0.5 -> 0.6", "small": "reads prune, which changed"}),
        ("stages.train.early_stopping.patience=2", {"train": 'early_stopping nothing -> {"monitor": "val_loss", '}),
        ("stages.train.schedule={decay: cosine}", {"train": "schedule.decay 'constant' -> 'cosine'; schedule.warmup"}),
        ("stages.float.quantization=float16", {"float": "quantization 'float32' -> 'float16'"}),
        ("stages.float.quantization=float16", {"verify": "reads float, which changed"}),
    ],
)
def test_why_a_step_is_missing_names_what_changed(why, option, expected):
    reasons = why(option)
    for name, reason in expected.items():
        assert reasons[name].startswith(reason)


def test_a_library_that_changed_is_named(why, monkeypatch):
    monkeypatch.setattr(steps_of, "installed", lambda name: "99.0")
    assert "tensorflow '" in (reasons := why())["train"]
    assert reasons["train"].count("-> '99.0'") == 4


def test_code_that_changed_is_named(why, monkeypatch):
    monkeypatch.setattr("pipeline.core.code_digest.digest", lambda *modules: " ".join(modules))
    assert why()["prune"] == (
        "the code of the stage changed; reads train, which changed; the code of data changed; the code of the task "
        "changed"
    )
    assert "the code of model changed" in why()["train"]


def test_data_that_changed_is_named(why, monkeypatch):
    monkeypatch.setattr("pipeline.data.sources.digits.Digits.fingerprint", lambda data: "other")
    assert why()["train"] == "the content of data changed"


def test_why_is_told_from_the_entry_that_shares_most_of_what_is_read(why, planned):
    """Although another run's entry, which read other files altogether, is the newer one."""
    other = planned(STAGES)["verify"].identity | {"needs": ["another float", "another small"]}
    why.store.put(key_of(other), "verify", other, lambda work: (work / "file").touch())
    assert why("stages.prune.sparsity=0.6")["verify"] == "reads small, which changed"


def test_why_is_told_from_the_last_run_of_the_config_first(why, planned, tmp_path):
    """Although another config's entry differs in less."""
    own = planned(STAGES, "stages.train.epochs=7", "seed=3")["train"]
    why.store.put(own.key, "train", own.identity, lambda work: (work / "file").touch())
    history.remember(why.store.root, "tiny", {"train": own.key})
    step = planned(STAGES, "stages.train.epochs=8", "seed=3")["train"]
    assert plan.why_missing(step, why.store, history.last(why.store.root, "tiny")) == "epochs 7 -> 8"
    step = planned(STAGES, "stages.train.epochs=9")["train"]
    assert plan.why_missing(step, why.store).startswith("epochs")
    assert "seed 3 -> 0" in plan.why_missing(step, why.store, history.last(why.store.root, "tiny"))
    (why.store.root / "runs" / "tiny.json").write_text("[")
    assert history.last(why.store.root, "tiny") == {}


def test_an_empty_store_is_told_as_such(planned, tmp_path):
    step = planned(STAGES)["train"]
    assert plan.why_missing(step, Store(tmp_path / "empty")) == "no train stage is in the store"


def test_a_damaged_entry_is_told_as_such(why, planned):
    step = planned(STAGES)["train"]
    assert why() == {}
    (why.store.get(step.key).path / "file").write_text("damage")
    assert plan.why_missing(step, why.store) == "its entry is damaged"


TAUGHT = """\
  - {stage: train, name: big, epochs: 3, model: {source: small_cnn, filters: 32}}
  - {stage: train, epochs: 3}
  - {stage: distill, teacher: big, epochs: 3}
  - {stage: distill, name: again, from: train, teacher: big, epochs: 3}
  - {stage: qat, teacher: big, epochs: 3}
"""


def test_the_key_of_a_stage_holds_the_network_that_it_starts_from_and_its_teacher(planned):
    steps = planned(TAUGHT)
    assert changed(steps, planned(TAUGHT, "model.filters=8")) == ["train", "distill", "again", "qat"]
    assert changed(steps, planned(TAUGHT, "stages.big.model.filters=8")) == ["big", "distill", "again", "qat"]


def test_a_teacher_counts_by_its_content_and_not_by_its_path(planned, tmp_path):
    found = []
    for name, head in (("a", "one"), ("b", "one"), ("b", "other")):
        network(tmp_path / f"{name}.h5", [dense(10, head)])
        stage = f"  - {{stage: distill, epochs: 1, teacher: {{source: file, path: {name}.h5}}}}\n"
        found.append(planned(stage)["distill"].key)
    assert found[0] == found[1] != found[2]


def test_a_teacher_that_can_not_be_read_is_told(planned):
    with pytest.raises(InputError, match=r"stages.distill.teacher: can't be read"):
        planned("  - {stage: distill, epochs: 1, teacher: {source: file, path: c.h5}}\n")
