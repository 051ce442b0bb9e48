"""The examination of calibration examples: each known mistake is one clear error."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.sources.arrays import ArrayExamples
from pipeline.data.sources.digits import Digits
from pipeline.keras.conversion.calibration import Calibration, draw

DIGITS = Digits()


class Replaced:
    """The digits with another calibration split."""

    def __init__(self, x, y):
        self.calibration = ArrayExamples(x, y, x.shape[1:], 1.0, 0.0)

    def spec(self):
        return DIGITS.spec()

    def split(self, name):
        return self.calibration if name == "calibration" else DIGITS.split(name)


def images(split, count=50):
    return DIGITS.split(split).batch(np.arange(count))


def test_the_draw_is_of_the_asked_size_and_decided_by_the_seed():
    one, same, other = (draw(DIGITS, Calibration(samples=20), seed).x for seed in (1, 1, 2))
    assert one.shape == (20, 8, 8, 1)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_another_draw_has_other_examples():
    first, again, other = (draw(DIGITS, Calibration(samples=20, draw=n), 1).x for n in (1, 1, 2))
    assert (first == again).all()
    assert (first == draw(DIGITS, Calibration(samples=20), 1).x).all()
    assert not (first == other).all()


def test_without_a_number_it_takes_what_there_is():
    assert len(draw(DIGITS, None, 0).x) == 179


def test_more_than_there_is_is_refused():
    with pytest.raises(InputError, match=r"asks for 500 examples \(received 179 in the calibration split\)"):
        draw(DIGITS, Calibration(samples=500), 0)


def broken(kind):
    x, y = images("calibration")
    noise = np.random.default_rng(0).random(x.shape, np.float32)
    return {
        "not finite": (np.where(x == x.max(), np.nan, x), y),
        "equal": (np.repeat(x[:1], 50, axis=0), y),
        "not normalised": (x * 255, y),
        "squashed": (x / 255, y),
        "noise": (noise, y),
        "one class": (x, np.zeros_like(y)),
        "test images": images("test"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("not finite", r"must be finite \(received NaN or infinity\)"),
        ("equal", r"must differ \(received 50 equal ones\)"),
        ("not normalised", r"training examples' range, 0 to 1 \(received 0 to 255\)"),
        ("squashed", r"received 0 to 0\.00392\d*\)"),
        ("noise", r"look like noise"),
        ("one class", r"must not all be of one class \(received 50 of label 0\)"),
        ("test images", r"must not be in the test split.*\(received 50 of 359 test examples\)"),
    ],
)
def test_unfit_calibration_is_refused(kind, message):
    with pytest.raises(InputError, match=message):
        draw(Replaced(*broken(kind)), None, 0)
