"""Versions of libraries are those that pip knows."""

from importlib.metadata import distributions, version

import pytest

from pipeline.core.versions import installed


def test_they_are_those_of_importlib_for_everything_that_is_installed():
    names = {found.name for found in distributions()}
    assert {name: installed(name) for name in names} == {name: version(name) for name in names}


def test_a_name_is_found_in_any_spelling():
    assert installed("PyYAML") == installed("pyyaml") == version("pyyaml")


def test_what_is_not_installed_is_told():
    assert installed("no-such-distribution") == "not installed"


@pytest.mark.parametrize("record", [None, "", "Name: x\n", "Name: x\nVersion: 1.0\n\nVersion: 2.0\n"])
def test_a_record_without_a_head_is_read_whole(monkeypatch, record):
    class Found:
        version = "1.0"

        def read_text(self, name):
            return record

    monkeypatch.setattr("pipeline.core.versions.distribution", lambda name: Found())
    assert installed.__wrapped__("x") == "1.0"
