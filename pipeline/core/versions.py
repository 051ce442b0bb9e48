"""Versions of the installed libraries, by the names that pip knows them by."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed(distribution: str) -> str:
    """The version, or "not installed". It is asked for many times, and each time pip's record would be parsed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
