"""The plan: which stages read which, and what is refused. Nothing runs here."""

import pytest

from pipeline.core.errors import ConfigError, InputError
from tests.support.described import dense, layer, network
from tests.support.pipelines import HEAD, STAGES


def test_a_stage_reads_the_nearest_one_above_that_fits(planned):
    steps = planned(STAGES)
    assert {name: [need.name for need in step.needs] for name, step in steps.items()} == {
        "train": [], "float": ["train"], "prune": ["train"], "small": ["prune"], "verify": ["float", "small"],
    }  # fmt: skip
    assert [step.name for step in steps["small"].chain] == ["prune", "train"]


TAUGHT = """\
  - {stage: train, name: big, epochs: 3, model: {source: small_cnn, filters: 32}}
  - {stage: train, epochs: 3}
  - {stage: distill, teacher: big, epochs: 3}
  - {stage: distill, name: again, from: train, teacher: big, epochs: 3}
  - {stage: qat, teacher: big, epochs: 3}
"""


def test_a_stage_reads_its_teacher_too_and_is_not_made_from_it(planned):
    steps = planned(TAUGHT)
    assert {name: ([need.name for need in step.needs], [above.name for above in step.chain])
            for name, step in steps.items()} == {
        "big": ([], []), "train": ([], []), "distill": (["big"], []), "again": (["train", "big"], ["train"]),
        "qat": (["again", "big"], ["again", "train"]),
    }  # fmt: skip


def test_from_names_any_stage_above(planned):
    text = STAGES.replace("name: small,", "name: small, from: train,")
    assert [need.name for need in planned(text)["small"].needs] == ["train"]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("- {^stage: convert, quantization: int8}", "convert.stage: needs a stage above that gives a Keras model"),
        ("- {stage: verify, ^of: [x]}", "stages.verify.of: names no stage above (received 'x')"),
        ("- {stage: train, name: t, epochs: 1, ^from: x}", "t.from: is not for a stage that starts from"),
        ("- {stage: qat, epochs: 1, ^from: trian}", "qat.from: names no stage above (received 'trian'); did you mean"),
        ("- {stage: qat, epochs: 1, ^from: qat}", "qat.from: names no stage above (received 'qat'); known: train"),
        ("- {stage: qat, epochs: 1, ^from: later}", "from: names no stage above; it stands below (received 'later')"),
        ("- {stage: qat, epochs: 1, ^from: c}", "gives a Keras model (received 'c', which gives a .tflite file)"),
        ("- {stage: qat, epochs: 1, ^from: v}", "gives a Keras model (received 'v', which gives checks)"),
        ("- {stage: verify, ^of: [train]}", "gives a .tflite file (received 'train', which gives a Keras model)"),
        ("- {stage: verify, of: [c], ^baseline: cc}", "baseline: names no stage above (received 'cc'); did you mean"),
        ("- {stage: verify, of: [c], ^from: c}", "stages.verify.from: is not for this stage; `of` names what it reads"),
        ("- {stage: qat, epochs: 1, ^teacher: c}", "teacher: must name a stage that gives a Keras model (received 'c'"),
        ("- {stage: distill, epochs: 1, ^teacher: later}", "teacher: names no stage above; it stands below"),
        ("- ^{stage: train, epochs: 2}", "is the name of a stage above too (received 'train'); give"),
        ("- {stage: qat, epochs: 1, ^name: c}", "is the name of a stage above too (received 'c'); give"),
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit_is_told_at_its_place(planned, stages, expected):
    above = "- {stage: train, epochs: 1}\n- {stage: convert, name: c, quantization: int8}\n"
    above += "- {stage: verify, name: v, of: [c]}\n"
    below = "\n- {stage: prune, name: later, from: train, epochs: 1, sparsity: 0.5}\n"
    alone = stages.startswith("- {^stage: convert") or "of: [x]" in stages
    line, column = (5 if alone else 8), stages.index("^") + 1
    with pytest.raises(ConfigError) as caught:
        planned(("" if alone else above) + stages.replace("^", "") + ("" if alone else below))
    (fault,) = caught.value.faults
    assert f"tiny.yaml:{line}:{column}: " in str(fault)
    assert expected in str(fault).replace("\n    ", "; ")


MADE = {
    "prune": "{stage: prune, epochs: 1, sparsity: 0.5}",
    "cluster": "{stage: cluster, epochs: 1, clusters: 16}",
    "channel_prune": "{stage: channel_prune, epochs: 1, keep: 0.5}",
    "recalibrate": "{stage: recalibrate}",
    "equalize": "{stage: equalize}",
    "distill": "{stage: distill, epochs: 1, teacher: train, from: %s}",
    "qat": "{stage: qat, epochs: 1}",
}
SENSELESS = {
    "prune": {"cluster", "qat"},
    "cluster": {"cluster", "qat"},
    "channel_prune": {"prune", "cluster", "qat"},
    "recalibrate": set(),
    "equalize": {"cluster", "qat"},
    "distill": {"prune", "cluster", "qat"},
    "qat": {"qat"},
}


@pytest.mark.parametrize("kind", MADE)
def test_orders_that_make_no_sense_are_refused_and_all_others_are_not(planned, kind):
    for above in MADE:
        names = ["train", "above", "between", "below"]
        stages = ["{stage: train, epochs: 1}", MADE[above], MADE["recalibrate"] if above != "qat" else "", MADE[kind]]
        named = [
            text.replace("{", f"{{name: {name}, ")
            % (() if "%s" not in text else "above" if name == "below" else "train")
            for name, text in zip(names, stages, strict=True)
            if text
        ]
        text = "".join(f"- {stage}\n" for stage in named)
        if above in SENSELESS[kind]:
            with pytest.raises(
                ConfigError, match=rf"tiny.yaml:{4 + len(named)}:\d+: stages.below.*can't follow {above}: "
            ):
                planned(text)
        else:
            planned(text)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("- {stage: qat, epochs: 1}\n- {stage: convert, ^quantization: float16}", "qat trains 8-bit ranges, which"),
        (
            "- {stage: qat, epochs: 1}\n- {stage: convert, quantization: int8, ^bias_correction: true}",
            "qat has taught the biases what 8 bits do; they can't be corrected again (received true); leave it out",
        ),
        ("- {stage: qat, epochs: 1, ^preserve: both}", "preserve: both needs a cluster stage above (received none)"),
        ("- {stage: convert, quantization: dynamic}\n- {^stage: compress}", "needs a file in int8 or int16x8"),
        (
            "- {stage: convert, quantization: int8}\n- {stage: compress}\n- {^stage: compress, name: again}",
            "can't follow compress: the file is compressed already; leave one of them out",
        ),
        (
            "- {stage: prune, epochs: 1, sparsity: 0.5}\n- {stage: cluster, epochs: 1, ^clusters: 2}",
            "clusters: must be at least 3 behind a prune stage",
        ),
    ],
)
def test_settings_that_make_no_sense_behind_the_stages_above(planned, stages, expected):
    line, column = 5 + stages.partition("^")[0].count("\n"), stages.partition("^")[0].split("\n")[-1]
    with pytest.raises(ConfigError) as caught:
        planned("- {stage: train, epochs: 1}\n" + stages.replace("^", "") + "\n")
    (fault,) = caught.value.faults
    assert f"tiny.yaml:{line + 1}:{len(column) + 1}: " in str(fault)
    assert expected in str(fault).replace("\n    ", "; ")


def test_all_names_that_do_not_fit_are_told_at_once(planned):
    text = "- {stage: qat, epochs: 1}\n- {stage: convert, from: x, quantization: int8}\n"
    with pytest.raises(ConfigError) as caught:
        planned(text + "- {stage: verify, of: [y, z]}\n")
    assert len(caught.value.faults) == 4


def test_data_that_can_not_be_read_is_told_before_anything_runs(planned):
    text = "name: a\ndata: {source: npz, path: none.npz}\nmodel: {source: small_cnn}\nstages:\n" + STAGES
    with pytest.raises(InputError, match=r"none\.npz: the data file can't be read"):
        planned(text)
    with pytest.raises(InputError, match=r"none\.h5: model: can't be read"):
        planned(HEAD.replace("small_cnn", "file, path: none.h5") + STAGES)


def test_what_is_for_classifiers_is_refused_before_anything_runs(planned):
    text = """\
name: tiny
data: {source: diabetes}
model: {source: autoencoder}
stages:
  - {stage: train, epochs: 1, label_smoothing: 0.1, class_weights: balanced, early_stopping: {monitor: val_accuracy}}
  - {stage: convert, quantization: int8}
  - stage: verify
    of: [convert]
    baseline: convert
    checks:
      - {check: accuracy, min: 0.5}
      - {check: agreement, min: 0.5}
      - {check: flips, max_lost: 0.5}
      - {check: metric, metric: auc, min: 0.5}
      - {check: metric, metric: mae, max: 50, max_drop: 1}
"""
    with pytest.raises(ConfigError) as caught:
        planned(text)
    rows = [str(fault).partition("tiny.yaml:")[2] for fault in caught.value.faults]
    lines, stages = text.splitlines(), "stages.verify.checks"
    expected = [
        (3, "source", "model.source: autoencoder is for anomaly (received data for regression)"),
        (5, "label_smoothing", "stages.train.label_smoothing: is for classifiers (received 0.1 for regression)"),
        (5, "class_weights", "stages.train.class_weights: is for classifiers (received balanced for regression)"),
        (5, "monitor", "stages.train.early_stopping.monitor: must be val_loss or val_mae for regression (received"),
        (11, "check", f"{stages}.accuracy.check: accuracy is for classifiers (received data for regression)"),
        (12, "check", f"{stages}.agreement.check: agreement is for classifiers"),
        (13, "check", f"{stages}.flips.check: flips is for classifiers"),
        (14, "metric", f"{stages}.metric.metric: is not a metric of regression (received auc)"),
    ]
    for row, (line, setting, rule) in zip(rows, expected, strict=True):
        assert row.startswith(f"{line}:{lines[line - 1].index(f'{setting}:') + 1}: {rule}")
    assert "use {check: metric, metric: mae}" in rows[4]


FILE = """\
name: tiny
data: {source: digits}
model: {source: file, path: model.h5}
stages:
  - {stage: train, epochs: 1}
  - {stage: prune, sparsity: 0.5, epochs: 1, skip: [convv1]}
  - {stage: convert, quantization: int8, keep_int16: [head, SOFTMAX, haed]}
"""
LAYERS = (layer("Conv2D", "conv1", filters=4), layer("Flatten", "flat"))


@pytest.mark.parametrize(
    ("head", "settings", "expected"),
    [
        (
            dense(10),
            {"version": "3.4.0"},
            "must come from Keras 2 (tf_keras), the version that tfmot works with (received",
        ),
        (dense(7), {}, "gives outputs of shape (..., 7) (received data for outputs of shape (10,))"),
        (dense(10), {"shape": (28, 28, 1)}, "takes examples of shape (28, 28, 1) (received data of shape (8, 8, 1))"),
        (layer("Lambda", "mine"), {}, "holds layers that can run code (received Lambda layer 'mine')"),
        (layer("Mine", "mine"), {}, "holds layers of classes that are not Keras's own (received Mine)"),
        (
            layer("QuantizeWrapperV2", "q"),
            {},
            "holds layers of tensorflow-model-optimization (received QuantizeWrapperV2)",
        ),
        (layer("LSTM", "lstm", stateful=True), {}, "holds stateful layers, which fix the batch size (received lstm)"),
    ],
)
def test_what_a_model_file_says_of_itself_is_told_by_the_plan(planned, tmp_path, head, settings, expected):
    network(tmp_path / "model.h5", [*LAYERS, head], **settings)
    with pytest.raises(InputError) as caught:
        planned(FILE.replace("convv1", "conv1").replace("haed", "head"))
    (fault,) = caught.value.faults
    assert str(fault).startswith(f"{tmp_path}/model.h5: model: {expected}")


def test_names_of_layers_are_held_against_the_model_file(planned, tmp_path):
    network(tmp_path / "model.h5", [*LAYERS, dense(10)])
    with pytest.raises(ConfigError) as caught:
        planned(FILE)
    assert [fault.rule for fault in caught.value.faults] == ["no layer matches 'convv1'", "no layer matches 'haed'"]


def test_settings_models_and_data_are_told_at_once(planned, tmp_path):
    network(tmp_path / "model.h5", [*LAYERS, dense(7)])
    with pytest.raises(ConfigError) as caught:
        planned(FILE.replace("epochs: 1}", "epochs: 1, early_stopping: {monitor: val_mae}}", 1))
    assert [fault.field for fault in caught.value.faults] == ["model", "stages.train.early_stopping.monitor"]


def test_data_that_a_built_in_model_does_not_take_are_told_by_the_plan(planned):
    with pytest.raises(InputError, match=r"tiny.yaml:3:1: model: mlp takes flat examples \(values,\) \(received"):
        planned(HEAD.replace("small_cnn", "mlp") + STAGES)
