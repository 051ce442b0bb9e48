"""Zip archives that a user names: what they unpack to is known from their directory, before anything is unpacked."""

import os
import zipfile

from pipeline.core import units

# Deflate packs at most 1032:1, and only content that repeats throughout. Real arrays of this size stay far below.
_MOST_RATIO = 200
_SMALL = 256 << 20  # bytes; harmless at any ratio


def check(archive: zipfile.ZipFile, most: int) -> None:
    """Raise ValueError if the members unpack to more than `most` bytes, or to suspiciously much for their size."""
    total = sum(member.file_size for member in archive.infolist())
    packed = sum(member.compress_size for member in archive.infolist())
    if total > _SMALL and total > _MOST_RATIO * packed:
        raise ValueError(f"it unpacks from {units.size(packed)} to {units.size(total)}, more than {_MOST_RATIO}:1")
    if total > most:
        raise ValueError(f"it unpacks to {units.size(total)}, more than {units.size(most)}")


def memory() -> int:
    """Return the size of this machine's memory in bytes; 64 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # Windows has no sysconf
        return 64 << 30
