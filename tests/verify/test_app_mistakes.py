"""What the usual mistakes of an app cost, against what the file itself makes of them."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from pipeline import tflite
from pipeline.data.sources.npz import Npz
from pipeline.verify import app_mistakes
from tests.support.contracts import RGB


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


def test_each_mistake_is_what_the_file_itself_makes_of_it(models, image_bytes):
    found = {row.mistake: row for row in app_mistakes.measure(models["int8"], image_bytes)}
    x, y = image_bytes.split("test").x, image_bytes.split("test").y
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


def test_only_the_mistakes_that_apply(models, image_bytes):
    always = ["not_normalised", "channels_swapped", "planar", "turned"]
    assert [row.mistake for row in app_mistakes.measure(models["float32"], image_bytes)] == always
    assert [row.mistake for row in app_mistakes.measure(models["int16x8"], image_bytes)] == [
        *always,
        "not_quantized",
        "floored",
    ]
    (shortcut,) = [row for row in app_mistakes.measure(models["uint8_io"], image_bytes) if row.mistake == "bytes"]
    assert shortcut.what.startswith("q = x, a shortcut: ")
    plain = Npz(source="npz", path=image_bytes.path, labels=RGB.labels, channels="none", scale=1)
    assert app_mistakes.measure(models["float32"], plain) == ()
