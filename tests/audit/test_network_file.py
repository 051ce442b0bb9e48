"""`edgepipe inspect` on Keras files, and what every command says of models that are no .tflite file."""

import json
import zipfile

import pytest


def build(send, folder):
    import tf_keras as keras

    inner = keras.Sequential([keras.layers.Conv2D(4, 3, activation="relu", name="conv")], name="inner")
    layers = [keras.Input((8, 8, 1), name="image"), inner, keras.layers.Flatten(), keras.layers.Dense(3, name="head")]
    model = keras.Sequential(layers, name="net")
    model.compile("adam", "mse")
    model.fit(*(keras.backend.ones(shape).numpy() for shape in ((2, 8, 8, 1), (2, 3))), verbose=0)
    model.save(folder / "net.h5")  # with the state of the optimizer, whose arrays are no weights
    model.save(folder / "net.keras")
    model.save_weights(folder / "weights.h5")
    model.save(folder / "saved")
    odd = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1, name="code")])
    odd.save(folder / "odd.h5")


@pytest.fixture(scope="module")
def networks(once, in_child):
    return once("networks", lambda folder: in_child(build, folder))


@pytest.mark.parametrize("name", ["net.h5", "net.keras"])
def test_a_keras_file_is_described_without_keras(edgepipe, networks, name):
    code, out, _ = edgepipe("inspect", networks / name, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["keras_version"].startswith("2.")
    assert (found["network"], found["name"], found["inputs"]) == ("Sequential", "net", [[None, 8, 8, 1]])
    assert found["parameters"] == (9 + 1) * 4 + (6 * 6 * 4 + 1) * 3
    assert len(found["weights"]) == 4
    assert "inner/conv" in [layer["name"] for layer in found["layers"]]
    assert found["kinds"]["Conv2D"] == 1
    code, out, _ = edgepipe("inspect", networks / name)
    assert f"model: {{source: file, path: {networks / name}}}" in out
    assert "it is no .tflite file" in out


def test_a_file_of_keras_3_is_told_with_the_way_out(edgepipe, networks, tmp_path):
    with zipfile.ZipFile(networks / "net.keras") as old, zipfile.ZipFile(tmp_path / "new.keras", "w") as new:
        for name in old.namelist():
            content = b'{"keras_version": "3.4.0"}' if name == "metadata.json" else old.read(name)
            new.writestr(name, content)
    code, out, _ = edgepipe("inspect", "new.keras")
    assert code == 0
    assert "Keras 3.4.0" in out
    assert "import tf_keras as keras" in out


def test_code_in_a_keras_file_is_named_and_does_not_run(edgepipe, networks):
    code, out, _ = edgepipe("inspect", networks / "odd.h5")
    assert code == 0
    assert "Lambda layer 'code': it runs only where `trust: true` allows it" in out


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        ("inspect", "saved", "must be a .tflite file (received a SavedModel folder)"),
        ("inspect", "weights.h5", "holds weights but no network"),
        ("inspect", "damaged.h5", "is no readable HDF5 file"),
        ("verify", "saved", "tf.lite.TFLiteConverter.from_saved_model(FOLDER)"),
        ("verify", "net.keras", "must be a .tflite file (received a Keras .keras archive)"),
        ("export", "net.h5", "must be a .tflite file (received a Keras .h5 file)"),
        ("inspect", "net.onnx", "received an ONNX model"),
    ],
)
def test_other_models_are_told_by_what_they_are(edgepipe, networks, tmp_path, command, name, message):
    (tmp_path / "net.onnx").write_bytes(b"anything")
    (tmp_path / "damaged.h5").write_bytes((networks / "net.h5").read_bytes()[:500])
    own = name in ("net.onnx", "damaged.h5")
    code, out, err = edgepipe(command, name if own else networks / name)
    assert (code, out) == (3, "")
    assert message in err


def test_a_saved_model_is_no_model_of_a_config(edgepipe, networks, tmp_path):
    model = f"model: {{source: file, path: {networks / 'saved'}}}"
    stages = "stages: [{stage: train, epochs: 1}]"
    (tmp_path / "c.yaml").write_text(f"name: a\ndata: {{source: digits}}\n{model}\n{stages}\n")
    code, _, err = edgepipe("plan", "c.yaml")
    assert code == 3
    assert "must be a .h5 or .keras file (received a SavedModel folder)" in err
    assert "tf_keras.models.load_model('saved').save('model.h5')" in err
