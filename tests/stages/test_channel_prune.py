"""The channel_prune stage: which channels go, and what is left."""

import re

import pytest
from pydantic import ValidationError

from pipeline import tflite
from pipeline.core.errors import StageError
from pipeline.data.spec import Spec
from pipeline.keras.models.resnet8 import Resnet8
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.convert import Convert
from pipeline.stages.stage import Artifact, Inputs
from pipeline.stages.train import Train
from tests.support.stages import DATA, MODEL, Runner, content, facts, rows


def resnet8_at_60_percent(send, folder):
    """The files of a ResNet-8 before and after, with 60 % of its MACs left, and what one step more would leave."""
    from pipeline.keras import tf

    tf.start(1)
    import tensorflow

    from pipeline.keras.pruning import importance
    from pipeline.keras.pruning.channels import wiring, without
    from pipeline.stages.channel_prune import _kept

    model = Resnet8(source="resnet8").build(Spec((32, 32, 3), tuple("abcdefghij")))
    wired = wiring(model)
    whole = {"stem": 1, "block2_conv2": 1, "block3_conv2": 1}
    stage = ChannelPrune(stage="channel_prune", keep_macs=0.6, layers=whole, epochs=1)
    scores = importance.norms(wired, 1)
    _, counts = stage._counts(wired, scores)
    send([wired.total_macs(_kept(wired, scores, counts | {name: counts[name] + 4})) for name in counts
          if name in ("block1_conv1", "block2_conv1", "block3_conv1")])  # fmt: skip
    for name, net in (("whole", model), ("smaller", without(model, wired, _kept(wired, scores, counts)))):
        path = folder / f"{name}.tflite"
        path.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(net).convert())
        send((path, wiring(net).total_macs(wiring(net).all)))


def test_the_file_of_a_resnet8_has_60_percent_of_the_macs(in_child, tmp_path):
    more, *files = in_child(resnet8_at_60_percent, tmp_path)
    (whole, macs), (smaller, fewer) = [(tflite.read(path), macs) for path, macs in files]
    assert (whole.macs, smaller.macs) == (macs, fewer)
    assert macs == 12_501_632
    assert 0.59 < fewer / macs <= 0.6
    assert len(more) == 3
    assert min(more) / macs > 0.6
    assert files[1][0].stat().st_size < 0.7 * files[0][0].stat().st_size


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("channels"), model=Resnet8(source="resnet8", filters=8))


@pytest.fixture(scope="module")
def trained(runner):
    return runner(Train(stage="train", epochs=1, batch_size=128))


def pruning(**settings):
    return ChannelPrune.model_validate({"stage": "channel_prune", "epochs": 2, "batch_size": 128} | settings)


TAYLOR = pruning(keep_macs=0.6, criterion="taylor", batches=2, layers={"stem": 1.0})


@pytest.fixture(scope="module")
def smaller(runner, trained):
    return runner(TAYLOR, trained)


def test_an_interrupted_channel_pruning_ends_with_the_same_bytes(runner, trained, smaller):
    assert content(smaller) == content(runner(TAYLOR, trained, interrupt_after=1))


def test_the_share_of_macs_that_is_kept_is_that_of_the_file(runner, trained, smaller):
    rows = facts(smaller)["layers"]
    before, after = (sum(row["macs"][i] for row in rows) for i in (0, 1))
    assert 0.4 < after / before <= 0.6
    assert facts(smaller)["notes"][0].startswith("MACs went from")
    file = runner(Convert(stage="convert", quantization="float32"), Artifact("slim", "keras", smaller.path, trained))
    assert tflite.read(file.path / "model.tflite").macs == after


def test_each_layer_is_told_with_its_channels_or_the_reason(smaller):
    found = rows(smaller)
    assert found["stem"]["why"] == found["block1_conv2"]["why"] == "is named in layers with 1"
    assert found["logits"]["why"] == "makes the model's output"
    assert found["block2_skip"]["channels"] == found["block2_conv2"]["channels"]
    assert found["block3_conv1"]["done"]
    assert found["block3_conv1"]["channels"][1] % 4 == 0


def test_a_share_of_each_layer_is_kept_and_patterns_change_it(runner, trained):
    stage = pruning(keep=0.5, criterion="bn_scale", multiple=2, layers={"*conv1": 0.25, "block1_conv1": 0.75}, epochs=1)
    found = {name: row["channels"] for name, row in rows(runner(stage, trained)).items()}
    assert found == {
        "stem": [8, 4], "block1_conv1": [8, 6], "block1_conv2": [8, 4], "block2_conv1": [16, 4],
        "block2_conv2": [16, 8], "block2_skip": [16, 8], "block3_conv1": [32, 8], "block3_conv2": [32, 16],
        "block3_skip": [32, 16], "logits": [10, 10],
    }  # fmt: skip


def test_layers_alone_leave_the_others_whole(runner, trained):
    rows = facts(runner(pruning(layers={"block1_conv1": 0.5}, epochs=1), trained))["layers"]
    assert {row["layer"]: row["channels"] for row in rows if row["done"]} == {"block1_conv1": [8, 4]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "give keep_macs, keep or layers"), ({"keep": 0.5, "keep_macs": 0.5}, "give either keep_macs or keep")],
)
def test_what_is_to_be_kept_is_said_once(settings, message):
    with pytest.raises(ValidationError, match=message):
        pruning(**settings)


REFUSED = [
    (
        {"keep": 0.5, "layers": {"block4_*": 0.5, "logits": 0.5}},
        r"matches 'block4_\*'(.|\n)*did you mean(.|\n)*logits can go",
    ),
    ({"keep": 0.5, "layers": {"block2_skip": 0.5, "block2_conv2": 0.25}}, r"lose the same .*received \[0.25, 0.5\]"),
    ({"keep_macs": 0.01}, r"keep_macs must be at least 0\.\d+ with least: 0.25 and multiple: 4 \(received 0.01\)"),
    ({"keep": 0.5, "multiple": 64}, r"there is no channel to remove \(received stem"),
]


def refusals(send, model):
    """What each of REFUSED is told."""
    for settings, _ in REFUSED:
        inputs = Inputs(DATA, MODEL, 1, {"train": model}, model.path, send, None)
        with pytest.raises(StageError) as refused:
            pruning(**settings).run(inputs, model.path)
        send(str(refused.value))


def test_channel_pruning_that_can_not_be_is_refused(trained, in_child):
    told = in_child(refusals, trained)
    for (_, message), text in zip(REFUSED, told, strict=True):
        assert re.search(message, text), text
