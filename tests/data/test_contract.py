"""The preprocessing contract inside a file, and what the usual mistakes with it cost."""

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from tflite_models import SHAPE, images, models  # noqa: F401  (fixtures)

from pipeline import tflite
from pipeline.core.errors import InputError
from pipeline.data import contract
from pipeline.data.contract import NAME, Contract
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from pipeline.tflite import edit
from pipeline.tflite.metadata import embedded
from pipeline.verify import app_mistakes, int8
from pipeline.verify.interpreters import litert, tflm

RGB = Contract(
    task="classification", raw_dtype="uint8", range=(0, 255), scale=1 / 255, offset=0, shape=SHAPE, layout="NHWC",
    channels="rgb", labels=tuple("abcdefghij"),
)  # fmt: skip
SHAPES = [(1, *SHAPE)]


def carried(content, contract_):
    """The file with that contract in its metadata."""
    return embedded(content, contract.NAME, contract_.encoded())


def metadata(content):
    return tflite.read(content).metadata


def with_metadata(path, raw, tmp_path):
    """A copy of the file whose contract is these bytes, whatever they are."""
    model = flatbuffer_utils.convert_bytearray_to_object(carried(path.read_bytes(), RGB))
    model.buffers[-1].data = np.frombuffer(raw, np.uint8)
    out = tmp_path / "changed.tflite"
    out.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return out


@pytest.mark.parametrize("name", ["float32", "int8", "int16x8", "lstm", "loop"])
def test_nothing_but_the_contract_is_added(models, name):  # noqa: F811
    content = models[name].read_bytes()
    carrying = carried(content, RGB)
    aligned = edit.ALIGNED * len(flatbuffer_utils.convert_bytearray_to_object(content).buffers)
    assert len(carrying) - len(content) < len(RGB.encoded()) + 80 + aligned
    model = flatbuffer_utils.convert_bytearray_to_object(carrying)
    model.buffers.pop(), model.metadata.pop()
    assert bytes(flatbuffer_utils.convert_object_to_bytearray(model)) == content
    assert carried(carrying, RGB) == carrying


def test_the_file_runs_as_before(models, images):  # noqa: F811
    content = models["int8"].read_bytes()
    carrying = carried(content, RGB)
    plain, more = tflite.read(content), tflite.read(carrying)
    assert int8.breaches(more) == int8.breaches(plain)
    assert np.array_equal(litert.run(carrying, images), litert.run(content, images))
    ((name, _),) = plain.signature.inputs.items()
    runs = [tflm.raw(model, {name: images[:4]}) for model in (plain, more)]
    assert all(np.array_equal(a, b) for a, b in zip(*(run.values() for run in runs), strict=True))


def test_what_was_written_is_read(models):  # noqa: F811
    carrying = metadata(carried(models["int8"].read_bytes(), RGB))
    assert contract.read(carrying, SHAPES) == (RGB, "")
    assert json.loads(carrying[NAME])["labels"] == list("abcdefghij")
    assert contract.read(metadata(models["int8"].read_bytes()), SHAPES) == (None, "the file carries none")


def changed(**fields):
    return json.dumps(json.loads(RGB.encoded()) | fields).encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "it is no JSON"),
        (b"\xff\xfe{", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[]", "Input should be"),
        (b" " * (contract.MOST_BYTES + 1), "1,048,577 bytes"),
        (changed(scale="1"), "scale: "),
        (changed(scale=float("nan")), "scale: "),
        (changed(range=[0, 1e999]), "range: "),
        (changed(shape=[-16, 16, 3]), "shape: "),
        (changed(shape=[1] * 9), "shape: "),
        (changed(shape=[8, 8, 3]), "for examples of shape (8, 8, 3), and the file takes (16, 16, 3)"),
        (changed(labels=[1, 2]), "labels: "),
        (changed(raw_dtype="\x1b[31mred"), "raw_dtype: "),
        (changed(**{"\x1b[31m": 1}), "it has a field that is not known"),
        (changed(version=2), "version: "),
    ],
)
def test_a_contract_that_is_none_is_calmly_unreadable(raw, why):
    found, said = contract.read({NAME: raw}, SHAPES)
    assert found is None
    assert said.startswith("unreadable: ")
    assert why in said
    assert said.isprintable()


def test_inspect_shows_it(edgepipe, models, tmp_path):  # noqa: F811
    labels = ["\x1b[31mred[/]", *"bcdefghij"]
    path = with_metadata(models["int8"], changed(labels=labels), tmp_path)
    code, out, err = edgepipe("inspect", path)
    assert (code, err) == (0, "")
    assert "uint8 0 to 255, 16x16x3 rgb, NHWC" in out
    assert "x * 0.00392157, 0 to 1" in out
    assert "\x1b" not in out
    _, out, _ = edgepipe("inspect", path, "--json")
    assert json.loads(out)["contract"]["labels"] == labels
    code, out, _ = edgepipe("inspect", with_metadata(models["int8"], b"{", tmp_path))
    assert code == 0
    assert "unreadable: it is no JSON" in out


def test_a_source_knows_its_own(tmp_path):
    digits = Digits().contract()
    assert digits.takes == "uint8 0 to 16, 8x8x1 grey, NHWC"
    assert (digits.formula, digits.real_range) == ("x * 0.0625", (0, 1))
    x, y = np.zeros((40, 6, 5, 3), np.uint8), np.arange(40) % 2
    x[:, 0, 0] = np.arange(40)[:, None]
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "b.npz", x_train=x.astype(np.float64), y_train=y)
    assert Npz(source="npz", path=tmp_path / "a.npz").contract().channels == "rgb"
    assert Npz(source="npz", path=tmp_path / "a.npz", channels="bgr").contract().channels == "bgr"
    assert Npz(source="npz", path=tmp_path / "a.npz", channels="none").contract().layout is None
    other = Npz(source="npz", path=tmp_path / "b.npz", scale=2, offset=-1).contract()
    assert (other.raw_dtype, other.channels, other.formula) == ("float64", None, "x * 2 - 1")
    with pytest.raises(InputError, match=r"grey images are \(height, width, 1\) \(received \(6, 5, 3\)\)"):
        Npz(source="npz", path=tmp_path / "a.npz", channels="grey").contract()


@pytest.fixture(scope="module")
def data(models, tmp_path_factory):  # noqa: F811
    """Bytes on which the int8 file, rightly fed, is always right."""
    x = np.random.default_rng(3).integers(0, 256, (120, *SHAPE)).astype(np.uint8)
    x[:, :, 8:, 0] //= 4  # neither turned nor swapped are they the same
    y = litert.run(models["int8"], x.astype(np.float32) / 255).reshape(120, -1).argmax(axis=1)
    path = tmp_path_factory.mktemp("bytes") / "data.npz"
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return Npz(source="npz", path=path, labels=RGB.labels)


def test_raw_examples_are_what_is_preprocessed(data):
    test, positions = data.split("test"), np.array([5, 0])
    raw = test.raw(positions)
    assert raw.dtype == np.uint8
    assert np.array_equal(test.batch(positions)[0], raw.astype(np.float32) * np.float32(1 / 255))


def decided(path, q):
    """The decisions of the file on integers that are written into its input as they are."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    put, get = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for row in q:
        interpreter.set_tensor(put, row[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(get).argmax())
    return np.array(found)


def test_each_mistake_is_what_the_file_itself_makes_of_it(models, data):  # noqa: F811
    found = {row.mistake: row for row in app_mistakes.measure(models["int8"], data)}
    x, y = data.split("test").x, data.split("test").y
    (tensor,) = tflite.read(models["int8"]).inputs

    def q(real, nearest=np.round):
        return np.clip(nearest(real / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)

    real = x / 255
    wrong = {
        "not_normalised": q(x.astype(np.float64)),
        "channels_swapped": q(real[..., ::-1]),
        "planar": q(real.transpose(0, 3, 1, 2).reshape(x.shape)),
        "turned": q(real.transpose(0, 2, 1, 3)),
        "not_quantized": real.astype(np.int8),
        "bytes": x.view(np.int8),
        "minus_128": (x.astype(int) - 128).astype(np.int8),
    }
    for kind, integers in wrong.items():
        accuracy = np.mean(decided(models["int8"], integers) == y)
        assert found[kind].accuracy == accuracy, kind
        assert found[kind].drop == 1 - accuracy
        assert found[kind].flips == round(100 * (1 - accuracy))
    assert {*found} == {*wrong, "floored"}
    assert found["not_normalised"].drop > 0


def test_only_the_mistakes_that_apply(models, data):  # noqa: F811
    always = ["not_normalised", "channels_swapped", "planar", "turned"]
    assert [row.mistake for row in app_mistakes.measure(models["float32"], data)] == always
    assert [row.mistake for row in app_mistakes.measure(models["int16x8"], data)] == [
        *always,
        "not_quantized",
        "floored",
    ]
    (shortcut,) = [row for row in app_mistakes.measure(models["uint8_io"], data) if row.mistake == "bytes"]
    assert shortcut.what.startswith("q = x, a shortcut: ")
    plain = Npz(source="npz", path=data.path, labels=RGB.labels, channels="none", scale=1)
    assert app_mistakes.measure(models["float32"], plain) == ()


def test_data_that_breaks_the_contract_is_refused(edgepipe, models, data, tmp_path):  # noqa: F811
    path = with_metadata(models["int8"], changed(), tmp_path)

    def verify(settings):
        (tmp_path / "data.yaml").write_text(f"data: {{source: npz, path: {data.path}, {settings}}}")
        return edgepipe("verify", path, "--data", tmp_path / "data.yaml", "--json")

    named = "labels: [a, b, c, d, e, f, g, h, i, j]"
    code, out, _ = verify(named)
    (facts,) = json.loads(out)["models"]
    assert code == 0
    assert facts["contract"]["scale"] == RGB.scale
    assert len(facts["mistakes"]) == 8
    code, out, err = verify("labels: [b, a, c, d, e, f, g, h, i, j], scale: 1, channels: bgr")
    assert (code, out) == (3, "")
    assert "made for x * 0.00392157 of uint8, 0 to 1 (received x of uint8, 0 to 255 from the data)" in err
    assert "made for rgb images (received bgr from the data)" in err
    assert "the file's labels are 10 ('a', 'b'" in err
    assert "give the data `scale: 0.00392156863` and `offset: 0`" in err
