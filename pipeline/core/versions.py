"""Versions of the installed libraries, by the names that pip knows them by."""

from email.parser import HeaderParser
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution


@cache
def installed(name: str) -> str:
    """Return the version of a library, or "not installed".

    `importlib.metadata.version` parses the whole record of pip with the README in it, which takes 20 ms for the ten
    libraries of a run. So it is cut behind its head.
    """
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return "not installed"
    head, _, _ = (found.read_text("METADATA") or "").partition("\n\n")
    return HeaderParser().parsestr(head)["Version"] or found.version
