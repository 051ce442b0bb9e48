"""Formats for firmware: what they write compiles without a warning, and computes what Python does."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from pipeline import tflite
from pipeline.core.errors import InputError
from pipeline.data.contract import NAME, Contract
from pipeline.engine.export import chosen, export
from pipeline.export.c import literal
from pipeline.tflite.metadata import embedded
from pipeline.tflite.values import dequantize, quantize
from tests.support.tflite_models import SHAPE

STRICT = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wpedantic"]
LABELS = ('say "no"', "*/", "\\", "café", "???/", "", "two\nlines", "8", "9", "🙂")

needs_gcc = pytest.mark.skipif(
    not shutil.which("gcc") or not shutil.which("g++"), reason="gcc and g++ are not installed"
)


@pytest.fixture(scope="module")
def carrying(models, tmp_path_factory):
    """The int8 file with a contract whose labels are hard to write in C."""
    contract = Contract(
        task="classification", raw_dtype="uint8", range=(0, 255), scale=1 / 255, offset=-0.5, shape=SHAPE, labels=LABELS
    )
    path = tmp_path_factory.mktemp("export") / "carrying.tflite"
    path.write_bytes(embedded(models["int8"].read_bytes(), NAME, contract.encoded()))
    return path


def compiled(folder, *sources, compiler=("gcc", "-std=c99")):
    command = [*compiler, *STRICT, "-I", folder, *sources, "-o", folder / "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "program"


@needs_gcc
@pytest.mark.parametrize("compiler", [("gcc", "-std=c99"), ("gcc", "-std=c11"), ("g++", "-x", "c++", "-std=c++11"),
                                      ("g++", "-x", "c++", "-std=c++17")])  # fmt: skip
@pytest.mark.parametrize("name", ["float32", "int8", "int16x8"])
def test_every_file_compiles_without_a_warning(models, tmp_path, name, compiler):
    export(models[name], chosen("c", ["prefix=a"]), tmp_path)
    (tmp_path / "main.c").write_text('#include "a_model.h"\nint main(void) { return a_model[0] == 0; }\n')
    program = compiled(tmp_path, "main.c", "a_model.c", compiler=compiler)
    assert subprocess.run([program], check=False).returncode == 0


PROGRAM = """
#include "one_model.h"
#include "two_model.h"
#include <stdio.h>
#include <string.h>

int main(int count, char **arguments)
{
    float real;
    if (count > 1 && strcmp(arguments[1], "model") == 0) {
        fwrite(one_model, 1, ONE_MODEL_BYTES, stdout);
        return ((size_t)one_model | (size_t)two_model) % 16 != 0;
    }
    if (count > 1) {
        for (unsigned i = 0; i < ONE_LABEL_COUNT; ++i) {
            fwrite(one_labels[i], 1, strlen(one_labels[i]) + 1, stdout);
        }
        return 0;
    }
    while (fread(&real, sizeof real, 1, stdin) == 1) {
        one_input0_t stored = one_input0_quantize(real);
        float back = one_input0_dequantize(stored);
        fwrite(&stored, sizeof stored, 1, stdout);
        fwrite(&back, sizeof back, 1, stdout);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(carrying, tmp_path_factory):
    """A program that holds the same file twice, under two prefixes."""
    folder = tmp_path_factory.mktemp("program")
    for prefix in ("one", "two"):
        export(carrying, chosen("c", [f"prefix={prefix}"]), folder)
    (folder / "main.c").write_text(PROGRAM)
    return compiled(folder, "main.c", "one_model.c", "two_model.c")


def output(program, *arguments, **options):
    return subprocess.run([program, *arguments], capture_output=True, check=True, **options).stdout


@needs_gcc
def test_the_bytes_in_flash_are_those_of_the_file(program, carrying):
    assert output(program, "model") == carrying.read_bytes()


@needs_gcc
def test_labels_are_the_same_text(program):
    assert tuple(output(program, "labels").decode().split("\0")[:-1]) == LABELS


@needs_gcc
def test_the_helpers_agree_with_python_on_random_values_and_edges(program, carrying):
    (tensor,) = tflite.read(carrying).inputs
    rng = np.random.default_rng(1)
    steps = (np.arange(-300, 300) + 0.5) * tensor.scale  # ties
    near = np.concatenate([np.nextafter(steps.astype(np.float32), np.float32(end)) for end in (-np.inf, np.inf)])
    edges = [0, -0.0, np.inf, -np.inf, 1e35, -1e35, 1e-45]
    real = np.concatenate([rng.uniform(-2, 2, 100_000), steps, near, edges]).astype(np.float32)
    found = np.frombuffer(output(program, input=real.tobytes()), np.dtype([("stored", "i1"), ("back", "<f4")]))
    stored = quantize(real, tensor.scale, tensor.zero_point, "int8")
    assert np.array_equal(found["stored"], stored)
    assert np.array_equal(found["back"], dequantize(stored, tensor.scale, tensor.zero_point))
    nan = np.float32(np.nan).tobytes()
    assert output(program, input=nan)[:1] == b"\x80"


@pytest.mark.parametrize("text", LABELS)
def test_a_literal_holds_nothing_that_ends_it_or_a_comment(text):
    inner = literal(text)[1:-1]
    assert inner.isascii()
    assert '"' not in inner
    assert "\n" not in inner


def test_the_command_writes_and_lists(edgepipe, models, tmp_path):
    code, out, _ = edgepipe("export", models["int8"], "--set", "prefix=kws", "--out", "made", "--json")
    assert code == 0
    assert {name: (tmp_path / name).stat().st_size for name in json.loads(out)} == json.loads(out)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["kws_model.c", "kws_model.h"]


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--set", "prefix=9x"], 2, "format.prefix: must be small letters"),
    (["--set", "prefix=a__b"], 2, "single underscores"),
    (["--set", "prefx=a"], 2, "did you mean 'prefix'?"),
    (["--format", "cc"], 2, "there is no such format (received 'cc'); did you mean 'c'?"),
    (["--out", "file/below"], 2, "--out file/below: can't be written"),
])  # fmt: skip
def test_what_is_wrong_is_one_clear_error(edgepipe, models, tmp_path, arguments, code, message):
    (tmp_path / "file").touch()
    given, out, err = edgepipe("export", models["int8"], *arguments)
    assert (given, out) == (code, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_whose_inputs_are_open_is_refused(models, tmp_path):
    model = flatbuffer_utils.convert_bytearray_to_object(models["int8"].read_bytes())
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = np.array([1, 0, 16, 3], np.int32)
    path = tmp_path / "open.tflite"
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with pytest.raises(InputError):
        export(path, chosen("c", []), tmp_path / "out")
    assert not (tmp_path / "out").exists()
