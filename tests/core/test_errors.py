"""Errors: what they say, their exit codes, and their way between processes."""

import pickle

import pytest

from pipeline.core.errors import ConfigError, EdgepipeError, Fault, InputError, StageError, StoreError, did_you_mean


@pytest.mark.parametrize(
    ("kind", "code"), [(EdgepipeError, 1), (ConfigError, 2), (InputError, 3), (StageError, 4), (StoreError, 4)]
)
def test_each_error_has_its_exit_code_and_survives_pickling(kind, code):
    error = kind(Fault("must hold", "a.yaml:1:2", "seed", "3", "use 4"), Fault("is required"))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.exit_code == code
    assert again.faults == error.faults
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("is required"), "is required"),
        (Fault("is required", "a.yaml:1:2", "seed"), "a.yaml:1:2: seed: is required"),
        (Fault("must be less than 1", "a.yaml:1:2", received="3"), "a.yaml:1:2: must be less than 1 (received 3)"),
        (Fault("is unknown", do="did you mean 'seed'?"), "is unknown; did you mean 'seed'?"),
    ],
)
def test_a_fault_reads_place_field_rule_received_and_what_to_do(fault, text):
    assert str(fault) == text


def test_a_long_fault_puts_what_to_do_on_a_line_of_its_own():
    assert str(Fault("r" * 90, do="do this instead")) == "r" * 90 + "\n    do this instead"


def test_several_faults_are_a_line_each():
    assert str(ConfigError(Fault("one"), Fault("two"))) == "one\ntwo"


@pytest.mark.parametrize(
    ("word", "words", "hint"),
    [
        ("epoch", ["epochs", "name"], "did you mean 'epochs'?"),
        ("zzz", ["b", "a", "b"], "known: a, b"),
        ("", ["a"], "known: a"),
        ("zzz", [], ""),
        ("epoch", (word for word in ["epochs"]), "did you mean 'epochs'?"),
    ],
)
def test_near_misses_are_suggested_and_else_the_choices_are_listed(word, words, hint):
    assert did_you_mean(word, words) == hint
