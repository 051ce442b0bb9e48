"""The config: what is accepted, and that every fault is told at once, in plain words, at its place."""

import re
from pathlib import Path

import pytest
from conftest import HEAD

from pipeline.config import config
from pipeline.core import validation
from pipeline.core.errors import ConfigError
from pipeline.core.settings import Settings
from pipeline.engine.plan import plan

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configs_that_we_ship_load(path):
    assert config.load(path)[0].name


def test_a_config_is_frozen_and_has_its_defaults(written):
    loaded, _ = config.load(written(HEAD + "  - {stage: train, epochs: 3}\n"))
    assert loaded.seed == 0
    assert loaded.stages[0].batch_size == 32
    assert loaded.stages[0].learning_rate == 0.001
    with pytest.raises(ValueError, match="frozen"):
        loaded.seed = 3


def test_whole_numbers_are_numbers_and_null_is_nothing_where_it_may_be(written):
    text = "  - {stage: train, epochs: 3, learning_rate: 1, clip_norm: null, name: ~}\n"
    (stage,) = config.load(written(HEAD + text))[0].stages
    assert (stage.learning_rate, stage.clip_norm, stage.label) == (1.0, None, "train")


def test_the_resolved_settings_load_to_the_same_config(written):
    loaded, _ = config.load(CONFIGS[[path.name for path in CONFIGS].index("digits.yaml")])
    from pydantic_core import to_json

    again, _ = config.load(written(to_json(loaded.settings()).decode(), "resolved.yaml"))
    assert again == loaded


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
    (line,) = faults(text.replace("^", ""))
    if "^" in text:
        assert line.startswith(f"5:{text.index('^') + 1}: stages.")
    assert expected in line


def test_faults_of_all_stages_come_together_in_the_order_of_the_text(faults):
    text = "  - {stage: train, epochs: -1}\n  - {stage: qat, epohcs: 1}\n  - {stage: convert, quantization: int4}\n"
    places = [re.match(r"[\d:]+: [\w.]+", line)[0] for line in faults(text)]
    assert places == [
        "5:20: stages.train.epochs",
        "6:5: stages.qat.epochs",
        "6:18: stages.qat.epohcs",
        "7:22: stages.convert.quantization",
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


FILES = HEAD.replace("digits", "npz, path: %s").replace("small_cnn", "file, path: m.h5") + STAGE % ""


def test_a_path_must_be_a_path(faults):
    (line,) = faults(FILES % "[a]")
    assert line == '2:21: data.path: must be a path (received ["a"])'


class Pair(Settings):
    """Settings whose validators speak of one of them."""

    low: int
    more: dict[str, int]


@pytest.mark.parametrize(
    ("message", "place", "rule", "received"),
    [
        ("low: must be less than high", ("low",), "must be less than high", "3"),
        ("more.x: must be even", ("more", "x"), "must be even", "1"),
        ("high: is no setting of it", (), "high: is no setting of it", ""),
        ("give low or high", (), "give low or high", ""),
    ],
)
def test_what_a_validator_says_of_a_setting_is_told_at_its_place(message, place, rule, received):
    found, words = validation._of_validator(message, (), Pair, {"low": 3, "more": {"x": 1}})
    assert (found, words.rule, words.received) == (place, rule, received)


STAGES = """\
  - {stage: train, epochs: 3}
  - {stage: convert, name: float, quantization: float32}
  - {stage: convert, quantization: int8}
  - stage: verify
    of: [convert]
    baseline: float
    checks: [{check: accuracy, min: 0.5}, {check: integer_only}]
"""


@pytest.mark.parametrize(
    ("option", "look", "expected"),
    [
        ("seed=3", lambda c: c.seed, 3),
        ("seed=0x10", lambda c: c.seed, 16),
        ("name=no", lambda c: c.name, "no"),
        ("name='a=b'".replace("=b", "-b"), lambda c: c.name, "a-b"),
        ("stages.train.learning_rate=1e-4", lambda c: c.stages[0].learning_rate, 1e-4),
        ("stages.float.quantization=float16", lambda c: c.stages[1].quantization, "float16"),
        ("stages.convert.io=uint8", lambda c: c.stages[2].io, "uint8"),
        ("stages.2.io=uint8", lambda c: c.stages[2].io, "uint8"),
        ("stages.verify.checks.accuracy.min=0.9", lambda c: c.stages[3].checks[0].min, 0.9),
        ("stages.verify.of=[convert, float]", lambda c: c.stages[3].of, ("convert", "float")),
        ("stages.train.early_stopping.patience=9", lambda c: c.stages[0].early_stopping.patience, 9),
        ("stages.train.schedule={decay: cosine, final: 0.1}", lambda c: c.stages[0].schedule.final, 0.1),
        ("data.splits.test=0.3", lambda c: c.data.splits.test, 0.3),
    ],
)
def test_set_reaches_a_setting_by_name_kind_or_position(written, option, look, expected):
    assert look(config.load(written(HEAD + STAGES), [option])[0]) == expected


def test_the_last_set_wins_and_null_is_filled(written):
    text = HEAD + STAGES.replace("epochs: 3", "epochs: 3, early_stopping: null")
    options = ["seed=1", "stages.train.early_stopping.patience=9", "seed=2"]
    loaded, _ = config.load(written(text), options)
    assert (loaded.seed, loaded.stages[0].early_stopping.patience) == (2, 9)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("seed", "--set seed: must be a dotted name, `=` and a value; such as seed=3"),
        ("=3", "--set =3: must be a dotted name, `=` and a value"),
        ("a..b=3", "--set a..b=3: must be a dotted name, `=` and a value"),
        ("sede=3", "--set sede=3: sede: is not a known setting; did you mean 'seed'?"),
        ("seed=", "--set seed=: seed: must be a whole number (received nothing)"),
        ("seed=[1", "--set seed=[1:1:3: is not YAML"),
        ("seed=!!python/name:os.system", "tags such as !!python/name:os.system are not allowed"),
        ("seed=1e-3", "--set seed=1e-3: seed: must be a whole number (received 0.001)"),
        ("stages.trian.epochs=1", "--set stages.trian.epochs=1: there is no item 'trian'; did you mean 'train'?"),
        ("stages.9.epochs=1", "--set stages.9.epochs=1: there is no item '9'; known: convert, float, train, verify"),
        ("stages.-1.epochs=1", "there is no item '-1'"),
        ("name.x=3", "--set name.x=3: there is nothing below it to set as 'x' (received 'tiny')"),
        ("stages=3", "--set stages=3: stages: must be a list (received 3)"),
        ("stages.train=null", "stages.0: must be a mapping of settings (received nothing)"),
        ("data.splits.test.x=3", '--set data.splits.test.x=3: data.splits.test: must be a number (received {"x": 3})'),
        ("stages.train.epochs=-1", "--set stages.train.epochs=-1: stages.train.epochs: must be at least 0 (rec"),
    ],
)  # fmt: skip
def test_a_wrong_set_is_told_as_such(written, option, expected):
    with pytest.raises(ConfigError) as caught:
        config.load(written(HEAD + STAGES), [option])
    assert expected in str(caught.value).replace("\n    ", "; ")


def test_a_name_that_several_items_have_needs_a_position(written):
    text = HEAD + "  - {stage: train, epochs: 1}\n  - {stage: train, epochs: 2}\n"
    with pytest.raises(ConfigError, match="'train' is the name of 2 items; use a position"):
        config.load(written(text), ["stages.train.epochs=3"])


def test_all_wrong_sets_are_told_at_once_with_the_faults_of_the_file(written):
    text = HEAD + "  - {stage: train, epochs: -1}\n"
    with pytest.raises(ConfigError) as caught:
        config.load(written(text), ["stages.x.y=1", "nope", "sede=1", "seed=2"])
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize("path", ["data.npz", "sub/data.npz", "../data.npz"])
def test_a_relative_path_is_relative_to_the_config_file(written, tmp_path, path):
    loaded, _ = config.load(written(FILES % path))
    assert loaded.data.path == tmp_path / path
    assert loaded.model.path == tmp_path / "m.h5"


def test_an_absolute_path_stays(written):
    assert config.load(written(FILES % "/d.npz"))[0].data.path == Path("/d.npz")


@pytest.mark.parametrize(
    "value",
    ["!!python/object/apply:os.mkdir [made]", "__import__('os').mkdir('made')", "${os.mkdir('made')}", "`mkdir made`"],
)
def test_yaml_never_runs_code(written, tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        config.load(written(HEAD.replace("tiny", value) + STAGES), [f"seed={value}"])
    assert not (tmp_path / "made").exists()
