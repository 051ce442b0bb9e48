"""`--set`: settings of the command line that go before those of the file."""

import pytest

from pipeline.config import config
from pipeline.core.errors import ConfigError
from tests.support.pipelines import HEAD

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
        ("name='a-b'", lambda c: c.name, "a-b"),
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
