"""configs/words.yaml on what datasets/words/prepare.py makes: text stays whole numbers from the archive to the app."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from pipeline import tflite
from pipeline.audit import inspection
from pipeline.engine.export import chosen, export
from pipeline.verify.interpreters import litert
from tests import ROOT

PROGRAM = """
#include "words_model.h"

int main(void)
{
    const int32_t known[WORDS_INPUT0_ELEMENTS] = {0, 999, 3}, unknown[WORDS_INPUT0_ELEMENTS] = {7, 1000, -1};
    words_input0_t input[WORDS_INPUT0_ELEMENTS];
    const bool copied = words_input0_copy(input, known) && input[1] == 999 && input[2] == 3;
    const bool refused = !words_input0_copy(input, unknown) && input[0] == 7 && input[1] == 0 && input[2] == 0;
    return !(copied && refused);
}
"""


@pytest.fixture(scope="module")
def ran(pipeline):
    config = (ROOT / "configs" / "words.yaml").read_text(encoding="utf-8")
    ran = pipeline(config.replace("../datasets/words/", "").replace("name: words", "name: tiny"))
    script = ROOT / "datasets" / "words" / "prepare.py"
    subprocess.run([sys.executable, script, ran.folder], check=True, capture_output=True)
    ran.run()
    return ran


def files(ran):
    return {name: ran.folder / "runs" / "tiny" / f"{name}.tflite" for name in ("float", "ptq", "small")}


def test_int8_files_read_single_ids_as_the_float_file_does_on_every_runtime(ran):
    models = {model.name: model for model in ran.report.models}
    assert models["float"].metrics["accuracy"] > 0.97
    for name in ("ptq", "small"):
        assert models[name].integer_only
        assert {row.runtime for row in models[name].runtimes if not row.unavailable} >= {"xnnpack", "reference"}
        for row in models[name].runtimes:
            assert row.unavailable or row.accuracy > models["float"].metrics["accuracy"] - 0.01
        assert min(row.sqnr_db for row in models[name].tensors if row.sqnr_db is not None) > 25
        mistakes = {row.mistake: row.drop for row in models[name].mistakes}
        assert mistakes.keys() == {"ids_cut", "ids_shifted", "padded_in_front"}
        assert mistakes["ids_shifted"] > 0.3
    assert models["small"].sparsity is not None


def test_every_file_takes_int32_ids_and_says_how_many(ran):
    for path in files(ran).values():
        facts = inspection.inspect(path)
        (port,) = facts["inputs"]
        assert (port["dtype"], port["scale"], facts["contract"]["ids"]) == ("INT32", None, 1000)


def test_padding_does_not_count_in_the_file(ran):
    model = tflite.read(files(ran)["ptq"])
    assert "DIV" in model.ops_count()  # the mean without its padding
    x = np.array([[5, 6, 7, *[0] * 9], [5, 6, 7, 5, 6, 7, *[0] * 6]], np.int32)
    one, other = litert.run(model, x)
    assert np.abs(one - other).max() < 0.1


def test_a_file_is_verified_alone_on_the_ids_of_its_data(ran):
    path = files(ran)["small"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "verify", path, "--data", ran.folder / "words.npz"], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 5), done.stderr
    assert "every id one higher" in done.stdout


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_c_code_copies_ids_and_refuses_others(ran, tmp_path):
    export(files(ran)["small"], chosen("c", ["prefix=words"]), tmp_path)
    (tmp_path / "main.c").write_text(PROGRAM)
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wpedantic", "-o", "program"]
    subprocess.run(["gcc", "main.c", "words_model.c", *options], cwd=tmp_path, check=True, capture_output=True)
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


def test_an_id_that_the_embedding_lacks_is_told_before_anything_is_trained(ran):
    with np.load(ran.folder / "words.npz") as archive:
        x, y = archive["x_train"], archive["y_train"]
    wrong = x.copy()
    wrong[17, 3] = 1000
    np.savez(ran.folder / "wrong.npz", x_train=wrong, y_train=y)
    _, err = ran.run("--set", "data.path=wrong.npz", code=3)
    assert "ids from 0 to 999 (received 1000 in example 17, at [3]" in err
    assert "starts" not in err
