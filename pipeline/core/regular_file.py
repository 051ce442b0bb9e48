"""Regular files that a user names: their kind and size are looked at before anything of them is read.

A link to a device or to a pipe can give data for ever, and a file can be larger than the memory.
"""

import errno
import stat
from pathlib import Path

from pipeline.core import units

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def size(path: Path) -> int:
    """Return the size of a regular file in bytes; links are followed. Raises OSError for everything else."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, and no file", str(path))
    return found.st_size


def read(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raises OSError for everything else."""
    if (found := size(path)) > most:
        raise OSError(errno.EFBIG, f"{units.size(found)}, and it may have {units.size(most)}", str(path))
    return path.read_bytes()
