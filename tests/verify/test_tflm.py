"""TFLite Micro against LiteRT's reference kernels, and its arena against TFLM itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tflite
from pipeline.core.errors import InputError
from pipeline.verify.device import asked
from pipeline.verify.interpreters import litert, tflm
from tests import ROOT

Models = dict[str, Path]


def test_without_the_package(models: Models, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(tflm.Unavailable, match="tflite_micro"):
        tflm.run(models["int8"], images)
    with pytest.raises(tflm.Unavailable, match="tflite_micro"):
        tflm.arena(models["int8"])


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("tflite_micro")

    @pytest.mark.parametrize(("name", "lsb"), [("int8", 1 / 256), ("uint8_io", 1 / 256), ("int16x8", 1 / 32768)])
    def test_outputs_are_the_reference_kernels(self, models: Models, images: Any, name: str, lsb: float) -> None:
        found = tflm.run(models[name], images)
        expected = litert.run(models[name], images, "reference")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1.01 * lsb)

    def test_a_batch_that_does_not_divide(self, models: Models, images: Any) -> None:
        found, expected = tflm.run(models["batch_4"], images[:6]), tflm.run(models["batch_4"], images[:8])
        np.testing.assert_array_equal(found, expected[:6])

    def test_by_name(self, models: Models) -> None:
        rng = np.random.default_rng(1)
        inputs = {"zeta": rng.random((3, 4)), "alpha": rng.random((3, 6))}
        found, expected = tflm.run(models["multi"], inputs), litert.run(models["multi"], inputs, "reference")
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], atol=0.05)
        with pytest.raises(InputError, match="give the data by name"):
            tflm.run(models["multi"], inputs["zeta"])

    def test_state_starts_anew_for_each_example(self, models: Models) -> None:
        x = np.random.default_rng(2).random((6, 6, 3))
        np.testing.assert_array_equal(tflm.run(models["lstm"], x)[::-1], tflm.run(models["lstm"], x[::-1]))

    def test_a_resource_variable_has_its_first_value_for_each_recording(self, foreign_models):
        """In the int8 file too, whose first value is no zero: `reset` alone would set zeros."""
        x = np.random.default_rng(2).normal(size=(4, 6, 4)).astype(np.float32)
        for name, atol in (("stream", 1e-5), ("stream_int8", 0.1)):
            expected = litert.run(foreign_models[name], x, "reference")
            assert expected.shape == (4, 6, 3)
            np.testing.assert_allclose(tflm.run(foreign_models[name], x), expected, atol=atol)
            np.testing.assert_allclose(tflm.run(foreign_models[name], x[:, 0]), expected[:, 0], atol=atol)

    def test_the_arena_of_an_open_shape_is_that_of_the_data(self, foreign_models):
        """It grows with the image. Without data it is that of the placeholder, at which alone TFLM runs the file."""
        sizes = []
        assert asked([]).measure(foreign_models["open"])["arena"].shapes == ((1, 1, 1, 1),)
        for side in (4, 8, 32):
            found = asked([]).measure(foreign_models["open"], {"x": np.zeros((2, side, side, 1))})
            assert found["arena"].shapes == ((1, side, side, 1),)
            sizes.append(found["arena_bytes"])
        assert sizes[2] - sizes[1] > 4 * 4 * (32**2 - 8**2)  # of one activation alone
        assert sizes[1] > sizes[0]
        with pytest.raises(InputError, match="TFLM runs a file at the shape in its bytes"):
            tflm.run(foreign_models["open"], np.zeros((2, 8, 8, 1)))

    def test_data_that_does_not_fit(self, models: Models) -> None:
        with pytest.raises(InputError, match="takes examples of shape"):
            tflm.run(models["int8"], np.zeros((1, 4)))

    @pytest.mark.parametrize("name", ["dynamic", "float16"])
    def test_a_model_that_tflm_refuses_says_why(self, models: Models, images: Any, name: str) -> None:
        with pytest.raises(InputError, match=r"TFLM can't run this model.*failed to prepare"):
            tflm.run(models[name], images)
        with pytest.raises(InputError, match=r"TFLM can't run this model.*failed to prepare"):
            tflm.arena(models[name])

    def test_arena(self, models: Models) -> None:
        """Head and tail add up, the head holds the live activations, and 64 bytes less do not do."""
        found = tflm.arena(models["int8"])
        model = tflite.read(models["int8"])
        assert found.total == found.head + found.tail
        assert found.head >= model.peak_activation_bytes
        assert found.smallest >= found.total - 64
        assert "text" in tflm._tried(model.content, found.smallest)
        assert "text" not in tflm._tried(model.content, found.smallest - 64)

    @pytest.mark.parametrize(("needed", "near"), [(5376, 5376), (4000, 2720), (1008, 5000), (16, 16), (60_000, 100)])
    def test_smallest_arena_is_found_exactly(self, monkeypatch: pytest.MonkeyPatch, needed: int, near: int) -> None:
        probes = []

        def tried(_content: bytes, size: int) -> dict[str, str]:
            probes.append(size)
            return {"text": ""} if size >= needed else {"crash": "exit code -11"}

        monkeypatch.setattr(tflm, "_tried", tried)
        assert tflm._smallest(b"", near, 1 << 20) == needed
        assert all(0 < size < 1 << 20 for size in probes)
        assert len(probes) <= (2 if needed == near else 40)

    def test_a_crash_of_the_process_is_an_answer(self, models: Models) -> None:
        """An arena of 16 bytes ends in a segmentation fault of the native code."""
        answer = tflm._tried(models["int8"].read_bytes(), 16)
        assert answer.keys() & {"crash", "error"}

    def test_standard_error_is_restored(self, models: Models, images: Any) -> None:
        code = (
            "import sys, numpy as np; from pipeline.verify.interpreters import tflm\n"
            "from pipeline.core.errors import InputError\n"
            "try: tflm.run(sys.argv[1], np.zeros((1, 16, 16, 3)))\n"
            "except InputError: print('after', file=sys.stderr)"
        )
        command = [sys.executable, "-c", code, str(models["dynamic"])]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stderr == "after\n"
