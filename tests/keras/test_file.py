"""Model files of the user's own: what loads, and that nothing in them runs code or ends in a traceback."""

import json
import shutil
import zipfile

import h5py
import pytest

from pipeline.core.errors import InputError
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import TASKS
from pipeline.keras.models.file import File
from tests.support.task_data import keras_files

SPEC = Spec((8, 8, 1), tuple("0123456789"))


def make_models(send, folder):
    """Save the models of the tests, each as .h5 and .keras."""
    import tensorflow as tf
    import tf_keras as keras
    from tf_keras import layers

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(10)

        def call(self, x):
            return self.dense(layers.Flatten()(x))

    class Own(layers.Layer):
        def call(self, x):
            return x * 2

    def network(change=lambda x: x, outputs=10, shape=(8, 8, 1)):
        x = inputs = layers.Input(shape)
        x = change(layers.Flatten()(x) if len(shape) > 1 else x)
        return keras.Model(inputs, layers.Dense(outputs, activation="softmax")(x))

    def several(inputs, outputs):
        xs = [layers.Input((8, 8, 1)) for _ in range(inputs)]
        x = layers.Flatten()(xs[0] if inputs == 1 else layers.Add()(xs))
        return keras.Model(xs, [layers.Dense(10)(x) for _ in range(outputs)])

    models = {
        "plain": network(),
        "sequential": keras.Sequential([layers.Flatten(input_shape=(8, 8, 1)), layers.Dense(10)]),
        "compiled": network(),
        "arithmetic": network(lambda x: tf.math.multiply(x, 2.0)[:, :32] + 1.0),
        "any_size": keras.Sequential(
            [layers.Conv2D(4, 3, input_shape=(None, None, 1)), layers.GlobalAveragePooling2D(), layers.Dense(10)]
        ),
        "lambda": network(layers.Lambda(lambda x: x * 2)),
        "nested_lambda": keras.Sequential([layers.InputLayer((8, 8, 1)), network(layers.Lambda(lambda x: x * 2))]),
        "own": network(Own()),
        "two_inputs": several(2, 1),
        "two_outputs": several(1, 2),
        "other_shape": network(shape=(16,)),
        "seven_outputs": network(outputs=7),
    }
    models["compiled"].compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    for name, model in models.items():
        for suffix in ("h5", "keras"):
            model.save(folder / f"{name}.{suffix}")
    models["plain"].save_weights(folder / "weights.h5")
    subclassed = Subclassed()
    subclassed(tf.zeros((1, 8, 8, 1)))
    subclassed.save(folder / "subclassed.keras")

    import keras as keras3

    network3 = keras3.Sequential([keras3.Input((8, 8, 1)), keras3.layers.Flatten(), keras3.layers.Dense(10)])
    for suffix in ("h5", "keras"):
        network3.save(folder / f"keras3.{suffix}")


def build(send, paths, trust):
    for path in paths:
        try:
            send(tuple(File(source="file", path=path, trust=trust).build(SPEC).output_shape))
        except InputError as error:
            send(error)


@pytest.fixture(scope="module")
def saved(in_child, tmp_path_factory):
    """Folder of the models of `make_models`."""
    folder = tmp_path_factory.mktemp("saved")
    in_child(make_models, folder)
    return folder


@pytest.fixture
def built(saved, in_child):
    """What a process with Keras makes of several files: an output shape, or the fault as a line."""

    def run(*names, trust=False):
        heard = in_child(build, [saved / name for name in names], trust)
        return {
            name: told(item, name) if isinstance(item, InputError) else item
            for name, item in zip(names, heard, strict=True)
        }

    return run


def told(error, name):
    (fault,) = error.faults
    assert fault.where.endswith(str(name))
    assert fault.field == "model"
    assert fault.received
    assert fault.do
    return f"{fault.rule} (received {fault.received}); {fault.do}"


@pytest.fixture
def refusal(saved, monkeypatch):
    """The fault of a file that is refused before Keras sees it."""
    monkeypatch.setattr(File, "_load", lambda file: pytest.fail("Keras saw it"))

    def run(name):
        with pytest.raises(InputError) as caught:
            File(source="file", path=saved / name).build(SPEC)
        return told(caught.value, name)

    return run


@pytest.fixture
def edited(saved, tmp_path):
    """A copy of a session's model file whose description, as text, was changed by a function."""

    def edit(name, change, **attributes):
        path = tmp_path / name
        shutil.copy(saved / name, path)
        if path.suffix == ".h5":
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = change(file.attrs["model_config"])
                file.attrs.update(attributes)
        else:
            with zipfile.ZipFile(saved / name) as old, zipfile.ZipFile(path, "w") as new:
                for member in old.namelist():
                    content = old.read(member)
                    new.writestr(member, change(content.decode()) if member == "config.json" else content)
        return path

    return edit


@pytest.fixture
def reweighted(saved, tmp_path):
    """A copy of a session's .h5 model whose arrays were changed by a function."""

    def change(name, edit):
        path = tmp_path / name
        shutil.copy(saved / name, path)
        with h5py.File(path, "r+") as file:
            edit(file["model_weights"])
        return path

    return change


both = pytest.mark.parametrize("suffix", ["h5", "keras"])


def test_models_of_keras_2_load(built):
    names = ["plain", "sequential", "compiled", "arithmetic", "any_size"]
    found = built(*(f"{name}.{suffix}" for name in names for suffix in ("h5", "keras")))
    assert set(found.values()) == {(None, 10)}


@both
@pytest.mark.parametrize("name", ["lambda", "nested_lambda"])
def test_a_lambda_layer_is_refused(refusal, name, suffix):
    text = refusal(f"{name}.{suffix}")
    assert text.startswith("holds layers that can run code (received Lambda layer 'lambda")
    assert text.endswith("set `trust: true` only if you trust whoever made the file")


def test_a_lambda_layer_loads_from_a_file_that_is_trusted(built):
    found = built("lambda.h5", "lambda.keras", "nested_lambda.h5", "nested_lambda.keras", trust=True)
    assert set(found.values()) == {(None, 10)}


@both
@pytest.mark.parametrize("function", ["io.write_file", "io.read_file", "py_function", "saved_model.load", None])
def test_a_tensorflow_function_that_is_no_arithmetic_is_refused(refusal, edited, function, suffix):
    path = edited(f"arithmetic.{suffix}", lambda text: text.replace('"math.multiply"', json.dumps(function)))
    assert refusal(path).startswith(f"holds layers that can run code (received TensorFlow function {function!r})")


@both
def test_a_slice_is_no_way_to_call_another_function(refusal, edited, suffix):
    path = edited(f"arithmetic.{suffix}", lambda text: text.replace('"__operators__.getitem"', '"io.write_file"'))
    assert "TensorFlow function 'io.write_file'" in refusal(path)


@both
@pytest.mark.parametrize(
    ("initializer", "named"),
    [
        ({"module": "os", "class_name": "system", "config": {}}, "class os.system"),
        ({"module": "os", "class_name": "function", "config": "system"}, "function os.system"),
        ({"module": "builtins", "class_name": "function", "config": "eval"}, "function builtins.eval"),
        ({"module": "tf_keras.src.utils.data_utils", "class_name": "function", "config": "urlretrieve"}, "urlretrieve"),
        ({"module": "keras.utils", "class_name": "os.system", "config": {}}, "class keras.utils.os.system"),
        ({"module": "tf_keras.layers", "class_name": "X", "registered_name": "Lambda", "config": {}}, "Lambda layer"),
        ({"class_name": "TensorFlowOpLayer", "config": {"name": "write"}}, "TensorFlowOpLayer layer 'write'"),
        ({"class_name": "ClassMethod", "config": {"cls_symbol": "io.gfile.GFile"}}, "ClassMethod layer"),
        ({"class_name": "__lambda__", "config": {"value": "gASV"}}, "__lambda__ layer"),
    ],
)
def test_code_is_refused_wherever_it_hides(refusal, edited, initializer, named, suffix):
    def hide(text):
        config = json.loads(text)
        config["config"]["layers"][-1]["config"]["bias_initializer"] = initializer
        return json.dumps(config)

    assert named in refusal(edited(f"plain.{suffix}", hide))


@both
def test_a_model_of_keras_3_is_refused_with_the_way_out(refusal, suffix):
    text = refusal(f"keras3.{suffix}")
    assert text.startswith("must come from Keras 2 (tf_keras), the version that tfmot works with (received Keras 3.")
    assert "import tf_keras as keras" in text


def test_weights_without_a_network_are_told_as_such(refusal):
    expected = "holds weights but no network (received no model_config); save it with model.save(path)"
    assert refusal("weights.h5") == expected


def test_files_that_are_cut_empty_or_of_another_kind_are_told_as_such(refusal, saved, tmp_path):
    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    h5, keras = ((saved / f"plain.{suffix}").read_bytes() for suffix in ("h5", "keras"))
    for name, content in {"empty": b"", "text": b"hello", "cut": h5[:5000], "renamed": keras}.items():
        assert refusal(file(f"{name}.h5", content)).startswith("is no readable HDF5 file (received ")
    for name, content in {"empty": b"", "text": b"hello", "cut": keras[:5000], "renamed": h5}.items():
        assert refusal(file(f"{name}.keras", content)).startswith("is no readable .keras archive (received ")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("other.txt", "hello")
    assert refusal(tmp_path / "other.keras").startswith("is no readable .keras archive")
    assert refusal(file("model.onnx", h5)).startswith("must be a .h5 or .keras file (received .onnx)")
    assert refusal(file("model", h5)).startswith("must be a .h5 or .keras file (received no suffix)")


def test_a_model_that_does_not_fit_the_data_is_refused(built):
    found = built("two_inputs.h5", "two_outputs.h5", "other_shape.h5", "seven_outputs.h5")
    assert [text.partition(";")[0] for text in found.values()] == [
        "must have one input and one output (received 2 and 1)",
        "must have one input and one output (received 1 and 2)",
        "takes examples of shape (16,) (received data of shape (8, 8, 1))",
        "gives outputs of shape (..., 7) (received data for outputs of shape (10,))",
    ]


def test_layers_and_models_of_ones_own_are_not_loaded(built):
    found = built("own.h5", "own.keras", "subclassed.keras")
    unknown = "holds layers of classes that are not Keras's own (received Own); put `@tf_keras.utils.register_keras"
    assert found["own.h5"].startswith(unknown)
    assert found["own.keras"].startswith(unknown)
    assert found["subclassed.keras"].startswith("holds layers that can run code (received class ")


DESCRIPTIONS = ("", "{", "[]", "3", "null", '{"class_name": "Functional"}', '{"config": {"layers": 3}}')


def test_damaged_descriptions_and_weights_are_input_errors(built, edited, tmp_path):
    paths = []
    for i, text in enumerate(DESCRIPTIONS):
        for suffix in ("h5", "keras"):
            paths.append(edited(f"plain.{suffix}", lambda _, text=text: text).rename(tmp_path / f"{i}.{suffix}"))
    paths.append(edited("plain.h5", lambda text: text.replace('"units": 10', '"units": 11')))
    found = built(*paths)
    assert [type(text) for text in found.values()] == [str] * len(paths)


def test_a_missing_file_is_told_when_its_content_is_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"none\.h5: model: can't be read \(received No such file or directory\)"):
        File(source="file", path=tmp_path / "none.h5").identity()


def test_trust_and_content_count_and_the_path_does_not(saved, tmp_path):
    shutil.copy(saved / "plain.h5", tmp_path / "moved.h5")
    files = [
        (saved / "plain.h5", False),
        (tmp_path / "moved.h5", False),
        (saved / "plain.h5", True),
        (saved / "lambda.h5", False),
    ]
    one, two, trusted, other = (File(source="file", path=path, trust=trust).identity() for path, trust in files)
    assert one == two
    assert one != trusted
    assert one != other


@pytest.fixture(scope="module")
def files(in_child, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    in_child(keras_files, folder)
    return folder


def build_for(send, path, specs):
    model = File(source="file", path=path)
    for spec in specs:
        try:
            send(model.build(spec).output_shape)
        except InputError as error:
            send(str(error.faults[0].rule))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sigmoid", [(None, 1), "gives outputs of shape (..., 1)", (None, 1), "gives outputs of shape"]),
        ("linear", ["must end in a sigmoid", "gives outputs of shape (..., 1)", (None, 1), "gives outputs of shape"]),
        ("four", ["gives outputs of shape (..., 4)"] * 2 + ["gives outputs of shape", (None, 4)]),
    ],
)
def test_a_file_is_taken_for_what_its_outputs_are(in_child, files, name, found):
    kinds = (("classification", "ab"), ("classification", "abc"), ("regression", "a"), ("anomaly", ""))
    specs = [Spec((4,), tuple(labels), TASKS[task]) for task, labels in kinds]
    sent = in_child(build_for, files / f"{name}.h5", specs)
    for got, expected in zip(sent, found, strict=True):
        assert got.startswith(expected) if isinstance(expected, str) else got == expected


def kernel(weights):
    """Path of the first kernel of a .h5 model."""
    return weights.visititems(lambda name, _: name if name.endswith("kernel:0") else None)


def test_arrays_that_are_large_only_when_they_are_read_are_not_read(refusal, reweighted):
    def swell(weights):
        name = kernel(weights)
        del weights[name]
        weights.create_dataset(name, shape=(1 << 20, 1 << 10), dtype="f4", chunks=True)  # 4 GiB, and nothing on disk

    assert "its arrays have more than 2.00 GiB" in refusal(reweighted("plain.h5", swell))


def test_arrays_in_other_files_are_not_read(refusal, reweighted):
    def link(weights):
        name = kernel(weights)
        del weights[name]
        weights[name] = h5py.ExternalLink("/etc/hostname", "/x")

    assert "refers to another file" in refusal(reweighted("plain.h5", link))


def refuse_size(send, path):
    """The faults of a file whose network is too large, and whether its weights were made."""
    File._load = lambda file: send("made")
    try:
        File(source="file", path=path).build(SPEC)
    except InputError as error:
        send(error)


@both
def test_a_network_that_is_too_large_is_not_built(in_child, edited, suffix):
    path = edited(f"any_size.{suffix}", lambda text: text.replace('"filters": 4', '"filters": 90000000'))
    (error,) = in_child(refuse_size, path)
    assert "a network with 1,800,000,010" in told(error, path)


def test_weights_that_are_no_numbers_are_told_with_their_names(built, reweighted):
    def spoil(weights):
        weights[kernel(weights)][0, 0] = float("nan")

    (text,) = built(reweighted("plain.h5", spoil)).values()
    assert text.startswith("holds weights that are NaN or infinite (received dense")
