"""Faults of a config: every one is told at once, in plain words, at its place."""

import re

import pytest

from pipeline.config import config
from pipeline.core.errors import ConfigError
from pipeline.engine.plan import plan
from tests.support.pipelines import HEAD

JARGON = re.compile(
    r"Input should|pydantic|dictionary|\btuple\b|instance of|valid (string|integer|boolean)|\ba integer"
    r"|after validation|Literal|literal\[|<class|pattern '|\bstr\b|\bint\b|None|True|False|Traceback",
)


@pytest.fixture
def faults(written):
    """The faults of a config text, as lines; a text without `name:` is a list of stages."""

    def found(text, *overrides):
        path = written(text if text.startswith("name:") else HEAD + text)
        with pytest.raises(ConfigError) as caught:
            plan(*config.load(path, overrides))
        lines = [str(fault).replace("\n    ", "; ") for fault in caught.value.faults]
        for line in lines:
            assert not JARGON.search(line.partition("(received")[0]), line
        return [line.rpartition("tiny.yaml:")[2] for line in lines]

    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: must be a mapping of settings (received nothing)"]),
        ("[1]", ["1:1: must be a mapping of settings (received [1])"]),
        ("name", ["1:1: must be a mapping of settings (received 'name')"]),
        ("{}", [f"1:1: {setting}: is required" for setting in ("name", "data", "model", "stages")]),
        (
            "name:\nseed:\ndata:\nmodel:\nstages:\n",
            [
                "1:1: name: must be text (received nothing)",
                "2:1: seed: must be a whole number (received nothing)",
                "3:1: data: must be a mapping of settings (received nothing)",
                "4:1: model: must be a mapping of settings (received nothing)",
                "5:1: stages: must be a list (received nothing)",
            ],
        ),
        (
            "name: a/b\nseed: -1\nseeds: 1\ndata: digits\nmodel: {filters: 3}\nstages: []\n",
            [
                "1:1: name: must hold only letters, digits and _ . - and begin with a letter or digit (received 'a/b')",
                "2:1: seed: must be at least 0 (received -1)",
                "3:1: seeds: is not a known setting; did you mean 'seed'?",
                "4:1: data: must be a mapping of settings (received 'digits'); write {source: digits}",
                '5:1: model: needs `source:` (received {"filters": 3}); known: ...',
                "6:1: stages: must have at least 1 item (received [])",
            ],
        ),
    ],
)  # fmt: skip
def test_every_fault_of_the_whole_is_told_at_once(written, text, expected):
    with pytest.raises(ConfigError) as caught:
        config.load(written(text))
    lines = [str(fault).replace("\n    ", "; ").rpartition("tiny.yaml:")[2] for fault in caught.value.faults]
    assert [re.sub("known: .*", "known: ...", line) for line in lines] == expected


STAGE = "  - {stage: train, epochs: 3, %s}\n"


TAUGHT = "  - {stage: distill, epochs: 3, %s}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # ^ marks the place that the fault names
        # unknown keys, at every depth
        (STAGE % "^epoch: 1", "stages.train.epoch: is not a known setting; did you mean 'epochs'?"),
        (STAGE % "^from_: x", "stages.train.from_: is not a known setting; did you mean 'from'?"),
        (STAGE % "schedule: {decay: cosine, ^warmup: 1}", "stages.train.schedule.warmup: is not a known setting; did"),
        (STAGE % "early_stopping: {^patiense: 1}", "stages.train.early_stopping.patiense: is not a known setting; did"),
        (STAGE % "augment: {^shfit: 1}", "stages.train.augment.shfit: is not a known setting; did you mean 'shift'?"),
        (
            "  - {stage: convert, quantization: int8, calibration: {^sample: 1}}\n",
            "stages.convert.calibration.sample: is not a known setting; did you mean 'samples'?",
        ),
        (
            "  - {stage: verify, of: [a], checks: [{check: integer_only, ^mim: 1}]}\n",
            "stages.verify.checks.integer_only.mim: is not a known setting; known: check, of",
        ),
        # tags
        ("  - ^{stage: trian, epochs: 3}\n", "stages.trian: there is no such stage (received 'trian'); did you"),
        ("  - ^{stage: 3}\n", "stages.0: there is no such stage (received 3); known: "),
        ("  - ^{stage: }\n", "stages.0: there is no such stage (received nothing); known: "),
        ("  - ^{epochs: 3}\n", 'stages.0: needs `stage:` (received {"epochs": 3}); known: '),
        ("  - ^train\n", "stages.0: must be a mapping of settings (received 'train'); write {stage: train}"),
        ("  -^\n", "stages.0: must be a mapping of settings (received nothing)"),
        (STAGE % "^schedule: {decay: cos}", "stages.train.schedule: there is no such decay (received 'cos'); did you"),
        (STAGE % "^schedule: cosine", "stages.train.schedule: must be a mapping of settings (received 'cosine');"),
        (
            "  - {stage: verify, of: [a], checks: [^{check: acuracy}]}\n",
            "stages.verify.checks.acuracy: there is no such check (received 'acuracy'); did you mean 'accuracy'?",
        ),
        # types
        (STAGE % "^batch_size: '32'", "stages.train.batch_size: must be a whole number (received '32')"),
        (STAGE % "^batch_size: true", "stages.train.batch_size: must be a whole number (received true)"),
        (STAGE % "^batch_size: 2.0", "stages.train.batch_size: must be a whole number (received 2.0)"),
        (STAGE % "^learning_rate: fast", "stages.train.learning_rate: must be a number (received 'fast')"),
        (STAGE % "^learning_rate: .inf", "stages.train.learning_rate: must be a finite number (received Infinity)"),
        (STAGE % "^l1: 1e999", "stages.train.l1: must be a finite number (received Infinity)"),
        (STAGE % "^l2: .nan", "stages.train.l2: must be a finite number (received NaN)"),
        (STAGE % "^augment: [flip]", 'stages.train.augment: must be a mapping of settings (received ["flip"])'),
        (STAGE % "augment: {^flip: yes}", "stages.train.augment.flip: must be true or false (received 'yes')"),
        (STAGE % "augment: {^flip: 1}", "stages.train.augment.flip: must be true or false (received 1)"),
        (STAGE % "^name: 3", "stages.train.name: must be text (received 3)"),
        (STAGE % "^name: ''", "stages.train.name: must hold only letters, digits and _ . - and begin"),
        (STAGE % "^momentum: null", "stages.train.momentum: must be a number (received nothing)"),
        ("  - {stage: verify, ^of: a}\n", "stages.verify.of: must be a list (received 'a')"),
        ("  - {stage: verify, ^of: []}\n", "stages.verify.of: must have at least 1 item (received [])"),
        ("  - {stage: verify, of: [^1]}\n", "stages.verify.of.0: must be text (received 1)"),
        # a union is one fault
        (STAGE % "^class_weights: 3", "stages.train.class_weights: must be 'balanced' or a list (received 3)"),
        (STAGE % "^class_weights: {a: 1}", "stages.train.class_weights: must be 'balanced' or a list (received {"),
        (STAGE % "^class_weights: balancd", "must be 'balanced' or a list (received 'balancd'); did"),
        (STAGE % "class_weights: [1, ^x]", "stages.train.class_weights.1: must be a number (received 'x')"),
        (STAGE % "class_weights: [1, ^-2]", "stages.train.class_weights.1: must be greater than 0 (received -2)"),
        # choices and ranges
        (STAGE % "^optimizer: adma", "stages.train.optimizer: must be 'adam', 'adamw' or 'sgd' (received 'adma'); d"),
        (STAGE % "^optimizer: lion", "stages.train.optimizer: must be 'adam', 'adamw' or 'sgd' (received 'lion')"),
        (STAGE % "^batch_size: 0", "stages.train.batch_size: must be greater than 0 (received 0)"),
        ("  - {stage: train, ^epochs: -1}\n", "stages.train.epochs: must be at least 0 (received -1)"),
        ("  - {stage: prune, epochs: 1, ^sparsity: 1.0}\n", "must be less than 1 (received 1.0)"),
        ("  - {stage: prune, epochs: 1, ^sparsity: 0}\n", "must be greater than 0 (received 0)"),
        ("  - {stage: prune, epochs: 1, ^sparsity: 1.5}\n", "must be less than 1 (received 1.5)"),
        ("  - ^{stage: prune, epochs: 1}\n", "stages.prune.sparsity: give either sparsity or m_by_n"),
        # settings that do not fit each other
        (STAGE % "optimizer: adamw", "must be above 0 for adamw"),
        (STAGE % "schedule: {decay: cosine, warmup_epochs: 3}", "must be less than epochs, 3"),
        ("  - {stage: qat, epochs: 1, ^precision: mixed_bfloat16}\n", "must be float32 here: tfmot rounds"),
        ("  - {stage: qat, epochs: 1, ^temperature: 2.0}\n", "stages.qat.temperature: needs a `teacher:`"),
        ("  - ^{stage: distill, epochs: 1}\n", "stages.distill.teacher: is required"),
        (TAUGHT % "^teacher: {path: big.h5}", "stages.distill.teacher: must be text or needs `source:`"),
        (TAUGHT % "^teacher: 5", "stages.distill.teacher: must be text or a mapping of settings (received 5)"),
        (TAUGHT % "teacher: a, ^features: [b]", "stages.distill.features: must be a mapping (received"),
        (TAUGHT % "teacher: a, ^feature_weight: 2", "stages.distill.feature_weight: needs `features:` (received 2)"),
        (TAUGHT % "teacher: a, ^alpha: 1.0", "alpha: must be less than 1 without `features:`"),
        ("  - {stage: prune, epochs: 1, sparsity: 0.3, begin: 0.8, end: 0.7}\n", "must be less than end, 0.7"),
        ("  - {stage: prune, epochs: 1, sparsity: 0.3, initial_sparsity: 0.5}\n", "must be less than sparsity, 0.3"),
        ("  - {stage: convert, quantization: int8, io: int16}\n", "int8"),
        ("  - {stage: convert, quantization: float32, calibration: {samples: 3}}\n", "has no effect on float32"),
        ("  - {stage: verify, of: [a, a]}\n", "must name each model once"),
        ("  - {stage: verify, of: [a], checks: [^{check: accuracy}]}\n", "stages.verify.checks.accuracy: give "),
        ("  - {stage: verify, of: [a], checks: [{check: accuracy, max_drop: 0.1}]}\n", "max_drop: needs a `baseline:`"),
        ("  - {stage: verify, of: [a], checks: [{check: integer_only, of: [b]}]}\n", "must name models that verify"),
    ],
)  # fmt: skip
def test_each_fault_is_one_plain_sentence_at_its_place(faults, text, expected):
    lines = faults(text.replace("^", ""))
    (line,) = [line for line in lines if "names no stage" not in line and "needs a stage above" not in line]
    if "^" in text:
        assert line.startswith(f"5:{text.index('^') + 1}: stages.")
    assert expected in line


def test_faults_of_all_stages_come_together_in_the_order_of_the_text(faults):
    text = "  - {stage: train, epochs: -1}\n  - {stage: qat, epohcs: 1}\n  - {stage: convert, quantization: int4}\n"
    places = [re.match(r"[\d:]+: [\w.]+", line)[0] for line in faults(text)]
    assert places == [
        "5:20: stages.train.epochs",
        "6:18: stages.qat.epohcs",
        "7:22: stages.convert.quantization",
    ]


def test_names_of_stages_are_told_with_all_other_faults(faults):
    lines = faults("""\
  - {stage: train, epochs: -1}
  - {stage: train, epochs: 2}
  - {stage: qta, epochs: 1}
  - {stage: convert, name: c, from: trian, quantization: int9}
  - {stage: verify, of: [d], checks: [{check: sizes}]}
""")
    assert [line.partition(" (received")[0] for line in lines] == [
        "5:20: stages.train.epochs: must be at least 0",
        "7:5: stages.qta: there is no such stage",
        "8:44: stages.c.quantization: must be 'float32', 'float16', 'dynamic', 'int8' or 'int16x8'",
        "9:39: stages.verify.checks.sizes: there is no such check",
        "6:5: stages.train.name: is the name of a stage above too",
        "8:31: stages.c.from: names no stage above",
        "9:21: stages.verify.of: names no stage above",
    ]


def test_data_and_model_are_checked_as_the_stages_are(faults):
    text = (
        "name: a\ndata: {source: digits, path: x, splits: {test: 1.0, tset: 0.3}, labels: []}\n"
        "model: {source: small_cnn, filters: 0}\nstages: [{stage: train, epochs: 1}]\n"
    )
    assert faults(text) == [
        "2:24: data.path: is not a known setting; known: labels, normal, source, split_seed, splits",
        "2:42: data.splits.test: must be less than 1 (received 1.0)",
        "2:53: data.splits.tset: is not a known setting; did you mean 'test'?",
        "2:65: data.labels: must have at least 1 item (received [])",
        "3:28: model.filters: must be greater than 0 (received 0)",
    ]


def test_a_path_must_be_a_path(faults):
    text = HEAD.replace("digits", "npz, path: [a]") + "  - {stage: train, epochs: 3}\n"
    (line,) = faults(text)
    assert line == '2:21: data.path: must be a path (received ["a"])'


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ("{source: digits, ^labels: [one]}", "data.labels: must name 2 or more for classification"),
        ("{source: npz, path: x, task: anomaly, ^labels: [a, b]}", "there is nothing to name for anomaly"),
        ("{source: npz, path: x, ^task: regresion}", "did you mean 'regression'"),
    ],
)
def test_settings_of_data_are_told_with_their_place(planned, data, rule):
    with pytest.raises(ConfigError) as caught:
        planned(HEAD.replace("{source: digits}", data.replace("^", "")) + "  - {stage: train, epochs: 1}\n")
    assert f"tiny.yaml:2:{7 + data.index('^')}:" in str(caught.value)
    assert rule in str(caught.value)
