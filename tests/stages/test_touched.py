"""Zeros that a prune stage made, counted in the file: as many as in the Keras kernels, whatever the layer."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.keras.models.file import File
from pipeline.stages.convert import Convert
from pipeline.stages.lineage import changed
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.touched import share_of_zeros, touched
from pipeline.stages.train import Train
from pipeline.verify import measurement
from pipeline.verify.model_facts import KernelFacts
from tests.support.stages import Runner, facts

KERNELS = {  # layer -> its kernels that are pruned, in the saved model
    "Conv2D": ["kernel"], "MatMul": ["pointwise_kernel"], "while": ["kernel"], "Tensordot": ["pointwise_kernel"],
    "lstm": ["kernel", "recurrent_kernel"], "stack": ["kernel"],
}  # fmt: skip


def save(send, folder):
    """Save a network of layers named like TensorFlow's inner scopes, and one with an Embedding and an unrolled GRU."""
    import tf_keras as keras
    from tf_keras import layers

    keras.utils.set_random_seed(1)
    image = layers.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="Conv2D")(image)
    x = layers.ReLU(name="Relu")(layers.BatchNormalization(name="BiasAdd")(x))
    x = layers.SeparableConv2D(9, 3, padding="same", name="MatMul")(x)  # 144 weights in either kernel
    x = layers.DepthwiseConv2D(3, strides=2, name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, name="while")(x)
    rows = layers.LSTM(6, return_sequences=True, name="lstm")(layers.Reshape((8, 8))(image))
    rows = layers.SeparableConv1D(8, 3, padding="same", name="Tensordot")(rows)
    x = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(rows)])
    x = layers.Dense(16, activation="relu", name="stack")(x)
    keras.Model(image, layers.Dense(10, activation="softmax", name="Mean")(x), name="MatMul").save(folder / "own.h5")
    x = layers.Embedding(300, 4, name="emb")(layers.Rescaling(16.0)(layers.Flatten()(image)))
    x = layers.GRU(4, unroll=True, name="gru")(layers.AveragePooling1D(8)(x))
    x = layers.Dense(10, activation="softmax")(x)
    keras.Model(image, x, name="emb").save(folder / "words.h5")


@pytest.fixture(scope="module")
def made(tmp_path_factory, in_child):
    """The artifacts of the network: pruned, then as float32, trained quantization-aware, and in int8."""
    folder = tmp_path_factory.mktemp("touched")
    in_child(save, folder)
    run = Runner(folder, model=File(source="file", path=folder / "own.h5"))
    trained = run(Train(stage="train", epochs=1, batch_size=128))
    pruned = run(Prune(stage="prune", sparsity=0.5, epochs=1, batch_size=128, min_weights=20), trained)
    aware = run(Qat(stage="qat", epochs=1, batch_size=128), pruned)
    plain = run(Convert(stage="convert", quantization="float32"), pruned)
    small = run(Convert(stage="convert", quantization="int8"), aware)
    return {"pruned": pruned, "aware": aware, "float32": plain, "int8": small}


@pytest.fixture(scope="module")
def words(made):
    """The artifacts of the other network: pruned, and as a float32 file."""
    folder = made["pruned"].path.parents[1]
    run = Runner(folder / "words", model=File(source="file", path=folder / "words.h5"))
    untrained = run(Train(stage="train", epochs=0))
    pruned = run(Prune(stage="prune", sparsity=0.5, epochs=1, batch_size=128, min_weights=20), untrained)
    return {"pruned": pruned, "float32": run(Convert(stage="convert", quantization="float32"), pruned)}


def kernels_of(artifact):
    return measurement.read("m", artifact.path / "model.tflite").kernels


def counted(artifact, layers=KERNELS):
    """Layer -> (zeros, weights) in the file, of the tensors that a prune stage is said to have pruned."""
    kernels = kernels_of(artifact)
    found = {layer: [0, 0] for layer in layers}
    for name in touched(artifact, kernels, "pruned").tensors:
        (layer,) = layers.keys() & set(kernels[name].layers)
        found[layer][0] += kernels[name].zeros
        found[layer][1] += kernels[name].weights
    return {layer: tuple(counts) for layer, counts in found.items()}


def in_keras(artifact, layers=KERNELS):
    """The same, in the kernels of the saved model."""
    found = {}
    with h5py.File(artifact.path / "model.h5") as file:
        for layer, names in layers.items():
            arrays = []
            file["model_weights"][layer].visititems(
                lambda path, node, into=arrays, names=names: (
                    into.append(node[()]) if path.rpartition("/")[2].removesuffix(":0") in names else None
                )
            )
            found[layer] = (sum(int(np.sum(each == 0)) for each in arrays), sum(each.size for each in arrays))
    return found


def test_the_file_has_the_zeros_of_every_kernel_that_was_pruned(made):
    expected = in_keras(made["pruned"])
    assert all(2 * zeros == weights for zeros, weights in expected.values())
    assert counted(made["float32"]) == expected
    after = counted(made["int8"])
    assert {layer: weights for layer, (_, weights) in after.items()} == {
        layer: weights for layer, (_, weights) in expected.items()
    }
    assert all(after[layer][0] >= zeros for layer, (zeros, _) in expected.items()), "small weights are rounded to zero"


def test_the_zeros_of_an_embedding_and_of_an_unrolled_layer_are_counted(words):
    layers = {"emb": ["embeddings"], "gru": ["kernel", "recurrent_kernel"]}
    assert counted(words["float32"], layers) == in_keras(words["pruned"], layers)
    assert counted(words["float32"], layers) == {"emb": (600, 1200), "gru": (48, 96)}


def test_qat_keeps_and_tells_the_zeros_of_every_kernel(made):
    told = facts(made["aware"])
    assert told["sparsity"] == {layer: pytest.approx(0.5, abs=0.01) for layer in KERNELS}
    assert not [note for note in told["notes"] if "zeros" in note]


def test_weights_that_are_not_found_are_told_and_nothing_is_said_of_the_others(made):
    kernels = kernels_of(made["float32"])
    unnamed = {
        name: each.model_copy(update={"layers": ()}) if "lstm" in each.layers and name.endswith("5") else each
        for name, each in kernels.items()
    }
    found = touched(made["float32"], unnamed, "pruned")
    assert found.tensors == ()
    assert found.why == "the file does not show which weights are those of lstm, pruned by a stage above"
    assert touched(made["float32"], kernels, "clustered").why == "no cluster stage stands before this model"


def test_the_share_is_over_all_weights():
    kernels = {
        "one": KernelFacts(layers=("a",), op="CONV_2D", weights=10, zeros=5),
        "two": KernelFacts(layers=("b",), op="CONV_2D", weights=30, zeros=0),
    }
    assert share_of_zeros(kernels, ("one", "two")) == 0.125
    assert share_of_zeros(kernels, ()) is None


def test_what_was_changed_is_known_from_the_whole_way(made):
    sizes = changed(made["int8"], "pruned")
    assert sizes["lstm"] == [8 * 24, 6 * 24]
    assert sizes["MatMul"] == [144]
    assert Path(made["int8"].path / "model.tflite").is_file()
