"""Write and read ``SHA256SUMS`` of a run folder, for ``sha256sum -c SHA256SUMS``. It lists every file but the log."""

import re
from pathlib import Path

from pipeline.core.errors import Fault, InputError

FILE = "SHA256SUMS"
UNSUMMED = (FILE, "log.txt")  # processes that end late may still write to the log

_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\0\n]+)")  # a plain file name: no line can point outside the folder


def write(folder: Path) -> None:
    """Write the checksums of all files in the folder."""
    from pipeline.core.hashing import file_sha256  # which loads NumPy; the page needs only the file's name

    files = sorted(path for path in folder.iterdir() if path.name not in UNSUMMED)
    lines = [f"{file_sha256(path)}  {path.name}\n" for path in files]
    (folder / FILE).write_text("".join(lines), encoding="utf-8")


def parse(text: str, where: str) -> dict[str, str]:
    """Parse the text into file name -> sha256. Raises InputError for any other text."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums:
            rule = "each line must be a sha256, two spaces and a file name that stands once"
            raise InputError(Fault(rule, where=f"{where}:{number}", received=repr(line[:100])))
        sums[found[2]] = found[1]
    return sums
