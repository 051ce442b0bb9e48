"""The base class of data sources with one example in each file of a folder."""

import hashlib
import json
import os
import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from pipeline.core import code_digest
from pipeline.core.errors import Fault, InputError
from pipeline.core.hashing import array_sha256, file_sha256
from pipeline.core.home import expanded
from pipeline.data import decoded, listing
from pipeline.data.contract import Channels, Contract
from pipeline.data.listing import Listed
from pipeline.data.source import SPLITS, Data
from pipeline.data.spec import Spec
from pipeline.data.splitting import Fractions, stratified
from pipeline.data.tasks.task import TASKS

_PIECE = 256  # examples that are hashed at a time
_SHOWN = 5  # broken files that a message names


class BrokenError(Exception):
    """A file does not hold a usable example; the message says why."""


@dataclass(frozen=True)
class FileExamples:
    """One split: rows of decoded examples, preprocessed as ``x * scale + offset`` in float32 when they are read."""

    rows: decoded.Rows
    positions: NDArray[np.int64]
    y: NDArray[np.int64]
    scale: float
    offset: float

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        return self.raw(indices).astype(np.float32) * np.float32(self.scale) + np.float32(self.offset), self.y[indices]

    def raw(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        return self.rows[self.positions[indices]]

    @cached_property
    def sha256(self) -> str:
        """sha256 of dtype, shape and bytes of the examples, then of the labels, as of arrays in memory."""
        total = hashlib.sha256(f"{self.rows.dtype.str}{(len(self), *self.rows.shape)}".encode())
        for start in range(0, len(self), _PIECE):
            total.update(self.raw(np.arange(start, min(start + _PIECE, len(self)))).tobytes())
        return hashlib.sha256(total.digest() + array_sha256(self.y).encode()).hexdigest()


class FolderData(Data):
    """Base class of sources with one example in each file, and its label in the file's folder or in a table.

    Files are decoded once, into a file beside the store, from which examples are read row by row: memory does not grow
    with the data. For example, a source of NumPy files::

        class ArrayFolder(FolderData):
            \"\"\"Arrays (8, 8, 1), one .npy file each.\"\"\"

            source: Literal["array_folder"]
            raw_dtype = "float32"
            scaling = (1.0, 0.0)

            def shape(self) -> tuple[int, ...]:
                return (8, 8, 1)

            def decode(self, path: Path) -> NDArray[np.generic]:
                try:
                    return np.load(path, allow_pickle=False).reshape(8, 8, 1)
                except ValueError as error:
                    raise BrokenError(str(error)) from None
    """

    path: Annotated[Path, Field(strict=False)]
    """Path of the folder, relative to the config file's folder. It holds a folder for each class, or folders `train`,
    `validation`, `calibration` and `test` (those that you have) with a folder for each class in each."""
    table: Annotated[Path, Field(strict=False)] | None = None
    """CSV file with the columns `path` and `label`, and optionally `split` and `group`, in place of class folders.
    Paths in it are relative to `path`; its own is relative to the folder `path`."""
    group: str | None = None
    """Regular expression whose first parenthesis finds in each file's path what the file belongs to, such as a person:
    `^[^/]+/(\\w+?)_`. All files of one group get into one split."""
    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = None
    """Names of the classes in label order. Default: all names in alphabetical order."""
    splits: Fractions = Fractions()
    """Fractions of the files for the splits that the folder lacks, stratified by label."""
    split_seed: int = Field(default=0, ge=0)
    """Random seed of the splitting. Independent of the run's `seed`, so that changing that keeps the test split."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with files that can't be decoded: end with an error that counts them, or leave them out."""
    most_skipped: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest share of files that `on_error: skip` leaves out before it is an error all the same."""

    anonymous: ClassVar[frozenset[str]] = frozenset({"source", "path", "table"})
    raw_dtype: ClassVar[str]  # dtype of decoded examples
    scaling: ClassVar[tuple[float, float]]  # scale and offset of the preprocessing
    range: ClassVar[tuple[float, float]]  # least and greatest value that a decoded example can have
    not_of_files: ClassVar[frozenset[str]] = frozenset(
        {"source", "path", "table", "group", "labels", "splits", "split_seed", "on_error", "most_skipped"}
    )  # settings that do not change what a file is decoded to

    _files: list[Listed] = PrivateAttr(default_factory=list)
    _digest: str = PrivateAttr(default="")
    _cut: dict[str, FileExamples] = PrivateAttr(default_factory=dict)
    _names: tuple[str, ...] = PrivateAttr(default=())
    _broken: dict[str, str] = PrivateAttr(default_factory=dict)

    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one decoded example."""

    @abstractmethod
    def decode(self, path: Path) -> NDArray[np.generic]:
        """Return the example in a file, of `shape()` and `raw_dtype`. Raises BrokenError if there is none."""

    def channel_order(self) -> Channels | None:
        """Return the channel order of images; None for other examples."""
        return None

    @property
    def broken(self) -> Mapping[str, str]:
        """Name of each file that was left out -> the reason."""
        self._examples()
        return self._broken

    def files(self) -> list[Listed]:
        """Return all files with their labels, splits and groups, ordered by name."""
        if not self._files:
            if not self.path.is_dir():
                received = "a file" if self.path.exists() else "nothing"
                raise InputError(Fault("must be a folder", str(self.path), received=received))
            table = self.table and self.path / expanded(str(self.table))
            found = listing.of_table(table, self.path) if table else listing.of_folder(self.path)
            self._files = listing.grouped(found, self.group) if self.group else found
        return self._files

    def fingerprint(self) -> str:
        if not self._digest:
            total = hashlib.sha256()
            for each in self.files():
                try:
                    content = file_sha256(each.path)
                except OSError as error:  # decoding tells it as broken
                    content = str(error.strerror)
                total.update(json.dumps([each.name, each.label, each.split, each.group, content]).encode())
            self._digest = total.hexdigest()
        return self._digest

    def spec(self) -> Spec:
        self._examples()
        return Spec(self.shape(), self._names)

    def split(self, name: str) -> FileExamples:
        return self._examples()[name]

    def positions(self, split: str) -> tuple[str, NDArray[np.int64]]:
        return "files", self._examples()[split].positions  # among all files, ordered by name

    def contract(self) -> Contract:
        spec, channels = self.spec(), self.channel_order()
        scale, offset = self.scaling
        return Contract(
            task=spec.task.name, raw_dtype=self.raw_dtype, range=self.range, scale=scale, offset=offset,
            shape=spec.shape, layout="NHWC" if channels else None, channels=channels, labels=spec.labels,
        )  # fmt: skip

    def _examples(self) -> dict[str, FileExamples]:
        if not self._cut:
            files, task = self.files(), TASKS["classification"]
            names = self.labels or tuple(sorted({each.label for each in files}))
            if unknown := sorted({each.label for each in files} - set(names)):
                rule = "`labels:` must name every class"
                raise InputError(Fault(rule, str(self.path), received=f"no {', '.join(unknown)}"))
            digests, self._broken = self._decoded()
            kept = [i for i, each in enumerate(files) if each.name not in self._broken]
            y = np.array([names.index(files[i].label) for i in kept], np.int64)
            of_split = self._positions([files[i] for i in kept], [digests[i] for i in kept], y)
            for name, found in of_split.items():
                if not len(found):
                    rule = f"is too small to cut a {name} split from"
                    do = "bring more files, or give the split a folder of its own"
                    raise InputError(Fault(rule, str(self.path), received=f"{len(kept)} files", do=do))
            task.names({name: y[found] for name, found in of_split.items()}, names)
            rows, where = decoded.Rows(self._cache("rows"), self.shape(), self.raw_dtype, self._again), np.array(kept)
            self._names = tuple(names)
            self._cut = {
                name: FileExamples(rows, where[found], y[found], *self.scaling) for name, found in of_split.items()
            }
        return self._cut

    def _positions(
        self, files: Sequence[Listed], digests: Sequence[Hashable], y: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        """Return the positions of each split among the files that are kept."""
        given = {split for each in files if (split := each.split)}
        placed = {name: np.array([i for i, each in enumerate(files) if each.split == name]) for name in given}
        free = np.array([i for i, each in enumerate(files) if each.split in (None, "train")], np.int64)
        if not len(free):
            raise InputError(Fault("must hold files for training", str(self.path), received=", ".join(sorted(given))))
        shares = {name: getattr(self.splits, name) for name in SPLITS[1:] if name not in given}
        keys = [files[i].group or digests[i] for i in free]
        cut = stratified(keys, y[free], shares, self.split_seed)
        return {name: (free[cut[name]] if name in cut else placed[name]) for name in SPLITS}

    def _decoded(self) -> tuple[list[Hashable], dict[str, str]]:
        """Decode all files if that was not done before; return the digest of each, and the broken ones with reasons."""
        from filelock import FileLock

        index = self._cache("npz")
        index.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{index}.lock"):
            if not index.is_file() or not self._cache("rows").is_file():
                self._decode_all(index)
        with np.load(index, allow_pickle=False) as kept:
            digests: list[Hashable] = [row.tobytes() for row in kept["digests"]]
            broken = dict(zip(kept["broken"].tolist(), kept["reasons"].tolist(), strict=True))
        self._check_broken(broken)
        return digests, broken

    def _decode_all(self, index: Path) -> None:
        files, blank = self.files(), np.zeros(self.shape(), self.raw_dtype)
        digests, broken = np.zeros((len(files), 16), np.uint8), {}
        beside = index.with_name(f"{uuid.uuid4().hex}.partial")
        try:
            with beside.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
                for start in range(0, len(files), _PIECE):  # pieces, so that few decoded examples wait in memory
                    piece = files[start : start + _PIECE]
                    for i, found in enumerate(pool.map(self._attempt, piece), start=start):
                        if isinstance(found, str):
                            broken[files[i].name] = found
                        row = decoded.packed(blank if isinstance(found, str) else found)
                        digests[i] = np.frombuffer(hashlib.blake2b(row, digest_size=16).digest(), np.uint8)
                        out.write(row)
            self._check_broken(broken)
            beside.replace(self._cache("rows"))
            np.savez(beside.with_suffix(".npz"), digests=digests, broken=[*broken], reasons=[*broken.values()])
            beside.with_suffix(".npz").replace(index)
        finally:
            beside.unlink(missing_ok=True)

    def _attempt(self, file: Listed) -> NDArray[np.generic] | str:
        try:
            return self.decode(file.path)
        except BrokenError as error:
            return str(error)

    def _again(self, row: int) -> NDArray[np.generic]:
        return self.decode(self.files()[row].path)

    def _check_broken(self, broken: Mapping[str, str]) -> None:
        """Raise InputError if there are broken files that `on_error` does not allow to leave out."""
        share = len(broken) / len(self.files())
        if not broken or (self.on_error == "skip" and share <= self.most_skipped):
            return
        kinds = Counter(broken.values())
        faults = []
        for reason, count in kinds.most_common():
            names = [name for name, why in broken.items() if why == reason]
            more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
            faults.append(
                Fault(f"{count} of {len(self.files())} files: {reason}", received=", ".join(names[:_SHOWN]) + more)
            )
        do = "mend or remove them, or set `on_error: skip`"
        if self.on_error == "skip":
            do = f"mend or remove them, or raise `most_skipped`, which is {self.most_skipped:g}"
        raise InputError(*(Fault(each.rule, str(self.path), received=each.received, do=do) for each in faults))

    def _cache(self, suffix: str) -> Path:
        """Return the file of decoded examples or of their index, named by all that decides its content."""
        settings = {key: value for key, value in self.settings().items() if key not in self.not_of_files}
        code = code_digest.digest(type(self).__module__)
        key = hashlib.sha256(json.dumps([self.fingerprint(), settings, code], sort_keys=True).encode()).hexdigest()
        return decoded.folder() / f"{key}.{suffix}"
