"""The user's own layers, in modules that a config names."""

import re

import pytest

from pipeline.config import config
from pipeline.core.errors import ConfigError, InputError
from pipeline.data.spec import Spec
from pipeline.engine.plan import plan
from pipeline.keras.models.custom import Custom
from pipeline.keras.models.file import File
from tests.support.described import dense, layer, network

SPEC = Spec((8, 8, 1), tuple("0123456789"))
LAYERS = """
import tf_keras

from my_package import factors


@tf_keras.utils.register_keras_serializable(package="mine")
class Scale(tf_keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
        super().build(shape)

    def call(self, x):
        return factors.twice(x * self.scale)
"""
FACTORS = """
def twice(x):
    return 2 * x
"""
CONFIG = """
name: tiny
data: {source: digits}
model: {source: file, path: model.h5, trust: true, custom: [my_package.layers]}
stages:
  - {stage: train, epochs: 3, learning_rate: 0.01}
  - {stage: convert, name: float, quantization: float32}
  - {stage: prune, sparsity: 0.5, epochs: 1, min_weights: 100}
  - {stage: qat, epochs: 1}
  - {stage: convert, name: small, quantization: int8}
  - stage: verify
    of: [small]
    baseline: float
    checks: [{check: integer_only}, {check: agreement, min: 0.95}, {check: sparsity, min: 0.4}]
"""


def write_modules(folder):
    package = folder / "my_package"
    package.mkdir(exist_ok=True)
    (package / "layers.py").write_text(LAYERS)
    (package / "factors.py").write_text(FACTORS)


@pytest.fixture
def planned(tmp_path, written):
    """The steps of the config above, by name, after changes to its text; its model is a description alone."""
    write_modules(tmp_path)
    network(tmp_path / "model.h5", [layer("mine>Scale", "scale"), layer("Flatten", "flat"), dense(10)])

    def run(old="", new=""):
        text = CONFIG.replace(old, new) if old else CONFIG
        return {step.name: step for step in plan(*config.load(written(text)))}

    return run


def test_the_code_of_the_modules_counts_and_their_place_does_not(planned, tmp_path):
    one = planned()["train"].key
    (tmp_path / "unrelated.py").write_text("1")
    assert planned()["train"].key == one
    (tmp_path / "my_package" / "factors.py").write_text(FACTORS.replace("2", "3"))
    assert planned()["train"].key != one
    write_modules(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_modules(elsewhere)
    here, there = (Custom(modules=["my_package.layers"], path=path).digest() for path in (tmp_path, elsewhere))
    assert here == there


def test_a_model_without_modules_has_no_trace_of_them_in_its_key(planned, tmp_path):
    network(tmp_path / "model.h5", [layer("Flatten", "flat"), dense(10)])
    model = planned(", custom: [my_package.layers]", "")["train"].identity["model"]
    assert set(model) == {"settings", "code", "content"}
    assert set(model["settings"]) == {"source", "trust"}


@pytest.mark.parametrize(
    ("old", "new", "kind", "expected"),
    [
        ("trust: true, ", "", ConfigError, r"4:\d+: model.custom: needs `trust: true`, because the modules' code runs"),
        (".layers]", ".layer]", InputError, r"4:1: model: there is no module my_package.layer \(received neither in"),
        ("my_package.", "../", ConfigError, r"model.custom.modules: must be the name of a Python module, such as my"),
        (", custom: [my_package.layers]", "", InputError, r"classes that are not Keras's own \(received mine>Scale\)"),
    ],
)
def test_what_can_not_be_used_is_told_by_the_plan(planned, old, new, kind, expected):
    with pytest.raises(kind, match=expected):
        planned(old, new)


def test_a_module_that_is_no_python_is_told_with_its_line(planned, tmp_path):
    (tmp_path / "my_package" / "factors.py").write_text("x = 1\ndef (")
    with pytest.raises(InputError, match=r"factors.py:2: model: my_package.factors is no valid Python"):
        planned()


def save_model(send, folder):
    from pipeline.keras import tf

    tf.start(0)
    Custom(modules=["my_package.layers"], path=folder).load()
    import tf_keras
    from my_package.layers import Scale
    from tf_keras import layers

    x = inputs = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="conv1")(x)
    x = layers.Conv2D(16, 3, activation="relu", name="conv2")(Scale(name="scale")(x))
    x = layers.Dense(10, activation="softmax", name="head")(layers.Flatten(name="flat")(x))
    tf_keras.Model(inputs, x).save(folder / "model.h5")


@pytest.fixture(scope="module")
def made(pipeline, in_child):
    made = pipeline(CONFIG)
    write_modules(made.folder)
    in_child(save_model, made.folder)
    return made


def test_a_custom_layer_goes_through_all_stages_and_into_the_file(made):
    made.run()
    notes = [note for step in made.report.steps for note in step.notes]
    assert "scale is left to calibration: there is no training with 8-bit rounding for Scale" in notes
    assert made.report.status == "pass"
    (made.folder / "config.yaml").write_text((made.folder / "runs" / "tiny" / "config.yaml").read_text())
    assert "path: ../..\n" in (made.folder / "config.yaml").read_text()  # the modules' folder, from the run folder
    assert all("hit" in line for line in made.run(verb="plan")[0].splitlines()[1:])


def build(send, folder):
    custom = {"modules": ["my_package.layers"], "path": str(folder)}
    try:
        File(source="file", path=folder / "model.h5", trust=True, custom=custom).build(SPEC)
    except InputError as error:
        send(str(error))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "import tf_keras\n",
            "import tf_keras, no\n",
            r"layers.py:2: my_package.layers can't be imported \(received Mod",
        ),
        (
            "@tf_keras.utils",
            "# @",
            r"model: can't be loaded by Keras \(received ValueError: Unknown layer: 'mine>Scale'",
        ),
        (
            "return factors.twice(x * self.scale)",
            "raise ValueError('no')",
            r"received ValueError in layer 'scale': ValueError: no\); mend the layer",
        ),
        ('initializer="ones"', "initializer=Scale.ones", r"layer 'scale'|has no attribute 'ones'"),
    ],
)
def test_modules_that_fail_are_told_with_what_to_do(made, in_child, old, new, expected):
    write_modules(made.folder)
    path = made.folder / "my_package" / "layers.py"
    path.write_text(path.read_text().replace(old, new))
    (told,) = in_child(build, made.folder)
    assert re.search(expected, told.replace("\n    ", "; ")), told
