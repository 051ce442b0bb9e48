"""Keys hold the code that decides a result and nothing else, so that growth never trains a user's network again."""

import pytest

from pipeline.core.code_digest import closure
from pipeline.stages.stage import STAGES
from tests.support.tree import Tree

# A change in any module of a closure changes the keys of that stage: every user's network is trained, converted or
# measured again. What decides no result must stay out of it. A room that is new in a row here needs a reason.

ROOMS = {
    "train": "data keras stages",
    "distill": "data keras stages",
    "recalibrate": "data keras stages",
    "equalize": "data keras stages",
    "prune": "data keras stages",
    "channel_prune": "data keras stages",
    "cluster": "data keras stages",
    "qat": "data keras stages",
    "sensitivity": "data keras stages tflite verify",  # names layers and measures as verification does
    "convert": "data keras stages tflite verify",  # tries the file on examples, and refuses one that breaks int8 rules
    "auto": "data keras stages tflite verify",  # makes and measures the files of its rungs
    "compress": "data keras stages tflite verify",  # proves equal outputs
    "verify": "data keras stages tflite verify",  # compares the file with the Keras model
}

MODULES = {  # by room; core is neutral
    "train": {
        "data": "source spec tasks.task",
        "keras": """
            layer_values models.model rounding surgery.builder surgery.flat surgery.graph surgery.rsqrt tf
            training.batches training.checkpoint training.fit training.settings training.unpredicted types
        """,
        "stages": "sidecar stage train training",
    },
    "convert": {
        "data": "contract source spec tasks.task",
        "keras": """
            conversion.bias_correction conversion.calibration conversion.conversion conversion.converter
            conversion.estimators conversion.file_layers conversion.functions conversion.halves conversion.named_ops
            conversion.preparation conversion.ranges conversion.request conversion.trace conversion.unrolling
            layer_choice layer_values models.model rounding surgery.attention surgery.builder surgery.channels
            surgery.convertible surgery.elementwise surgery.flat surgery.graph surgery.kernels surgery.plain
            surgery.ranges surgery.rsqrt tf types
        """,
        "stages": "conversion convert follower sensitivity_facts sidecar stage worst",
        "tflite": """
            accumulator attribution edit flatbuffer graph int16 int8_spec lut macs memory metadata model names
            pointwise quantization reading scales state tables values
        """,
        "verify": """
            int8 int8.ranges int8.rule int8.structure int8.weights interpreters.litert model_facts scoring.scoring
            scoring.statistics setback sqnr tensor_errors
        """,
    },
    "verify": {
        "data": "contract source spec tasks.task",
        "keras": """
            layer_values models.model rounding surgery.builder surgery.flat surgery.graph surgery.rsqrt tf types
        """,
        "stages": "lineage sidecar stage touched verification",
        "tflite": """
            attribution demands edit flatbuffer graph int8_spec lut macs memory model names quantization reading
            state values
        """,
        "verify": """
            app_mistakes device finite int8 int8.ranges int8.rule int8.structure int8.weights interpreters.litert
            interpreters.tflm measurement model_facts runtimes.comparison runtimes.reference runtimes.runtime
            runtimes.tflm runtimes.xnnpack scoring.scoring scoring.statistics sqnr tensor_errors vela
        """,
    },
}


def code(kind):
    """The modules whose code is in the key of a stage, as (room, module in it); a room's own is left out."""
    stage = STAGES.load(kind)
    found = (name.split(".", 2)[1:] for name in closure(*(stage.decided_by or (stage.__module__,))))
    return {(room, module[0] if module else "") for room, *module in found}


@pytest.mark.parametrize("kind", [*STAGES])
def test_the_key_of_a_stage_holds_code_of_these_rooms_alone(kind):
    assert " ".join(sorted({room for room, _ in code(kind)})) == ROOMS[kind]


@pytest.mark.parametrize("kind", MODULES)
def test_the_key_of_a_core_stage_holds_these_modules_alone(kind):
    expected = {(room, module) for room, modules in MODULES[kind].items() for module in modules.split()}
    assert {each for each in code(kind) if each[1]} == expected


CONFIG = """\
name: all
seed: 5
target: cortex-m4
data: {source: digits}
model: {source: small_cnn}
stages:
  - {stage: train, epochs: 1}
  - {stage: distill, from: train, teacher: train, epochs: 1}
  - {stage: recalibrate}
  - {stage: equalize}
  - {stage: channel_prune, keep: 0.5, epochs: 1}
  - {stage: prune, sparsity: 0.5, epochs: 1}
  - {stage: cluster, clusters: 16, epochs: 1}
  - {stage: qat, epochs: 1}
  - {stage: convert, quantization: int8}
  - {stage: compress}
  - {stage: sensitivity, from: train}
  - {stage: convert, name: finer, from: sensitivity, quantization: int8, keep_int16: {worst: 1}}
  - {stage: auto, from: train, max_drop: 0.5, max_bytes: 100000}
  - stage: verify
    of: [convert, compress, finer, auto]
    baseline: finer
    checks: [{check: accuracy, min: 0.5}, {check: flips, max_lost: 0.1}, {check: size, max_ratio: 1.0}]
"""

OTHER = """\
name: other
target: other-board
data: {source: other_data}
model: {source: other_model}
stages:
  - {stage: train, epochs: 1}
  - {stage: other_stage}
  - {stage: convert, quantization: int8}
  - stage: verify
    of: [convert]
    runtime: other_runtime
    checks: [{check: other_check, max_bytes: 9000}, {check: metric, metric: other_metric, min: 0.5}]
"""

DATA = '''
"""Diabetes under another name, for another task."""

from typing import Literal

from pipeline.data.sources.diabetes import Diabetes
from pipeline.data.tasks.task import TASKS, Task


class OtherData(Diabetes):
    """The same values."""

    source: Literal["other_data"]

    @property
    def learns(self) -> Task:
        return TASKS["other_task"]
'''

TASK = '''
"""Regression under another name."""

from pipeline.data.tasks.regression import Regression


class OtherTask(Regression):
    """The same outputs."""

    name, main = "other_task", "other_metric"
'''

SCORING = '''
"""Scoring of the other task."""

from pipeline.verify.scoring.regression import RegressionScoring


class OtherScoring(RegressionScoring):
    """The same shares."""

    metric = "other_metric"
'''

MODEL = '''
"""An mlp under another name, for the other task."""

from typing import Literal

from pipeline.keras.models.mlp import Mlp


class OtherModel(Mlp):
    """The same layers."""

    tasks = ("other_task",)

    source: Literal["other_model"]
'''

STAGE = '''
"""Recalibration under another name."""

from typing import Literal

from pipeline.stages.recalibrate import Recalibrate


class OtherStage(Recalibrate):
    """The same statistics."""

    stage: Literal["other_stage"]
'''

CHECK = '''
"""The check of the size under another name."""

from typing import Literal

from pipeline.verify.checks.size import Size


class OtherCheck(Size):
    """The same size."""

    check: Literal["other_check"]
'''

RUNTIME = '''
"""XNNPACK under another name."""

from pipeline.verify.runtimes.xnnpack import Xnnpack


class OtherRuntime(Xnnpack):
    """The same kernels."""

    name, title, short = "other_runtime", "Another runtime", "other"
'''

FORMAT = '''
"""A C array under another name."""

from typing import Literal

from pipeline.export.c import C


class OtherFormat(C):
    """The same files."""

    format: Literal["other_format"]
'''

BOARD = """\
name: other-board
title: Another board
sources: [https://example.com/board.pdf]
runtime: tflm
flash_bytes: 4096
ram_bytes: 4096
inputs: [int8]
outputs: [int8]
ops: tflm
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def before(tree):
    """The keys of a config with every stage, in a copy of the package as it is."""
    (tree.folder / "all.yaml").write_text(CONFIG)
    return tree.keys("all.yaml")


@pytest.fixture(scope="module")
def grown(tree, before):
    """The copy with another part of every family: each a file, and a line in the registry."""
    tree.add("DATA", "other_data", "data.sources.other_data", DATA)
    tree.add("TASKS", "other_task", "data.tasks.other_task", TASK)
    tree.add("SCORING", "other_task", "verify.scoring.other_task", SCORING)
    tree.add("MODELS", "other_model", "keras.models.other_model", MODEL)
    tree.add("STAGES", "other_stage", "stages.other_stage", STAGE)
    tree.add("CHECKS", "other_check", "verify.checks.other_check", CHECK)
    tree.add("RUNTIMES", "other_runtime", "verify.runtimes.other_runtime", RUNTIME)
    tree.add("FORMATS", "other_format", "export.other_format", FORMAT)
    tree.insert("verify/scoring/metrics.py", r"^    for row in \($", '        Metric("other_metric", "other_task"),')
    (tree.package / "verify" / "targets" / "other-board.yaml").write_text(BOARD)
    return tree


def test_the_config_has_every_stage(before):
    assert before.keys() == {*STAGES, "finer"}


def test_a_new_part_of_any_family_changes_no_key(grown, before):
    assert grown.keys("all.yaml") == before


def test_the_new_parts_can_be_named_in_a_config(grown):
    (grown.folder / "other.yaml").write_text(OTHER)
    shown = grown.python("-m", "pipeline", "plan", "other.yaml", "--store", "store")
    assert [line.split()[0] for line in shown.splitlines()[1:5]] == ["train", "other_stage", "convert", "verify"]


def test_the_new_format_can_be_chosen(grown):
    program = "from pipeline.engine.export import chosen; print(chosen('other_format', ['prefix=a']).settings())"
    assert grown.python("-c", program) == "{'format': 'other_format', 'prefix': 'a'}\n"
