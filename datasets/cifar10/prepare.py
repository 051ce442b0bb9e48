"""Make cifar10.npz from the official archive: python datasets/cifar10/prepare.py [cifar10.npz]

The file has x_train (50000, 32, 32, 3), y_train (50000,), x_test (10000, 32, 32, 3) and y_test (10000,), all uint8, in
the official order and split. The archive is the binary version, so that nothing is unpickled, and is only opened when
its sha256 is the expected one.
"""

import argparse
import hashlib
import sys
import tarfile
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"
FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
RECORD = 1 + 3 * 32 * 32  # bytes of an image: its label, then 32 rows of red, of green and of blue
TIMEOUT = 60  # seconds without a byte


class PrepareError(Exception):
    """What a user is told."""


def download(url: str, into: BinaryIO) -> None:
    """Write what the address gives into the file. PrepareError when it can't be had."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            while piece := answer.read(1 << 20):
                into.write(piece)
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        do = "download it by other means, and name it with --from FILE"
        raise PrepareError(f"{url}: can't be downloaded (received {reason}); {do}") from None


def check(archive: BinaryIO, sha256: str, name: str) -> None:
    """PrepareError unless the content, from its start, has that digest."""
    archive.seek(0)
    total = hashlib.sha256()
    while piece := archive.read(1 << 20):
        total.update(piece)
    if total.hexdigest() != sha256.lower():
        raise PrepareError(f"{name}: must have the sha256 {sha256} (received {total.hexdigest()}); fetch it again")
    archive.seek(0)


def read(archive: BinaryIO, name: str) -> dict[str, NDArray[np.uint8]]:
    """The four arrays. PrepareError when the archive lacks a file, or one is not in the format."""
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            arrays = {}
            for split, files in FILES.items():
                parts = [_records(tar, f"{FOLDER}/{file}", name) for file in files]
                records = np.concatenate(parts)
                arrays[f"x_{split}"] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                arrays[f"y_{split}"] = records[:, 0]
            return arrays
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PrepareError(f"{name}: must be a .tar.gz archive (received {error})") from None


def _records(tar: tarfile.TarFile, member: str, name: str) -> NDArray[np.uint8]:
    """The records (n, RECORD) of a file in the archive; nothing is unpacked to the disk."""
    try:
        file = tar.extractfile(member)
    except KeyError:
        file = None
    if file is None:
        raise PrepareError(f"{name}: must hold {member} (received {', '.join(tar.getnames()[:8])})")
    content = file.read()
    if not content or len(content) % RECORD:
        raise PrepareError(f"{name}: {member} must be records of {RECORD} bytes (received {len(content)} bytes)")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise PrepareError(f"{name}: labels in {member} must be 0 to 9 (received {records[:, 0].max()})")
    return records


def save(arrays: dict[str, NDArray[np.uint8]], path: Path) -> None:
    """Write the file in one rename."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "made.npz"
        np.savez(made, **arrays)  # type: ignore[arg-type]
        made.replace(path)


def prepare(out: Path, archive: Path | None, url: str, sha256: str) -> None:
    """Make the file from an archive, or from the one that is downloaded."""
    out.parent.mkdir(parents=True, exist_ok=True)
    name = str(archive or url)
    with archive.open("rb") if archive else tempfile.TemporaryFile(dir=out.parent) as file:
        if not archive:
            download(url, file)
        check(file, sha256, name)
        arrays = read(file, name)
    save(arrays, out)
    shapes = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
    print(f"wrote {out}: {shapes}")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 3 when the archive can't be had or is not what it must be."""
    parser = argparse.ArgumentParser(description="Make cifar10.npz from the official archive, 162 MiB to download.")
    parser.add_argument("out", nargs="?", type=Path, default=Path("cifar10.npz"), help="the file to write")
    parser.add_argument("--from", dest="archive", type=Path, metavar="FILE", help="an archive that is here already")
    parser.add_argument("--url", default=URL, help="where else to download it from (default: %(default)s)")
    parser.add_argument("--sha256", default=SHA256, help="of the archive (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        prepare(given.out, given.archive, given.url, given.sha256)
    except PrepareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
