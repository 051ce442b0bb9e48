"""Tests, in the rooms of what they test. `tests.support` holds what several of them are made of."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the repository
