"""The preprocessing contract of a file: `inspect` shows it, and `verify` holds data to it."""

import json

import pytest

from tests.support.contracts import RGB, changed, with_metadata


def test_inspect_shows_it(edgepipe, models, tmp_path):
    labels = ["\x1b[31mred[/]", *"bcdefghij"]
    path = with_metadata(models["int8"], changed(labels=labels), tmp_path)
    code, out, err = edgepipe("inspect", path)
    assert (code, err) == (0, "")
    assert "uint8 0 to 255, 16x16x3 rgb, NHWC" in out
    assert "x * 0.00392157, 0 to 1" in out
    assert "\x1b" not in out
    _, out, _ = edgepipe("inspect", path, "--json")
    assert json.loads(out)["contract"]["labels"] == labels


def test_inspect_shows_that_it_is_unreadable(edgepipe, models, tmp_path):
    code, out, _ = edgepipe("inspect", with_metadata(models["int8"], b"{", tmp_path))
    assert code == 0
    assert "unreadable: it is no JSON" in out


@pytest.fixture
def verify(edgepipe, models, image_bytes, tmp_path):
    """Verifies a file that carries the contract, with the images under some settings of the data."""
    path = with_metadata(models["int8"], changed(), tmp_path)

    def run(settings):
        (tmp_path / "data.yaml").write_text(f"data: {{source: npz, path: {image_bytes.path}, {settings}}}")
        return edgepipe("verify", path, "--data", tmp_path / "data.yaml", "--json")

    return run


def test_data_that_keeps_the_contract_is_measured(verify):
    code, out, _ = verify("labels: [a, b, c, d, e, f, g, h, i, j]")
    (facts,) = json.loads(out)["models"]
    assert code == 0
    assert facts["contract"]["scale"] == RGB.scale
    assert len(facts["mistakes"]) == 8


def test_data_that_breaks_the_contract_is_refused(verify):
    code, out, err = verify("labels: [b, a, c, d, e, f, g, h, i, j], scale: 1, channels: bgr")
    assert (code, json.loads(out)["error"]["exit_code"]) == (3, 3)
    assert "made for x * 0.00392157 of uint8, 0 to 1 (received x of uint8, 0 to 255 from the data)" in err
    assert "made for rgb images (received bgr from the data)" in err
    assert "the file's labels are 10 ('a', 'b'" in err
    assert "give the data `scale: 0.00392156863` and `offset: 0`, or leave out both" in err
