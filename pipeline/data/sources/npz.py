"""The data source `npz`: a user's own arrays in a NumPy archive."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from pipeline.core import archive as zip_archive
from pipeline.core import regular_file
from pipeline.core.errors import Fault, InputError, did_you_mean
from pipeline.core.hashing import file_sha256
from pipeline.data.contract import Channels
from pipeline.data.source import SPLITS
from pipeline.data.sources.arrays import ArrayData, Labelled
from pipeline.data.tasks.task import TASKS, Task, TaskName

_CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}  # channel order -> number of channels

NAMES = frozenset(f"{letter}_{split}" for split in SPLITS for letter in "xy")


class Npz(ArrayData):
    """An .npz file with x_train and y_train, and optionally x_ and y_ of validation, calibration and test.

    Each x is an array (N, ...) of numbers; y is (N,) whole numbers from 0 for classification, (N,) or (N, M) numbers
    for regression. For anomaly detection x_test and y_test are required, with y 0 (normal) or 1 (anomalous); the other
    splits hold normal examples only, and need no y.
    """

    source: Literal["npz"]
    path: Annotated[Path, Field(strict=False)]
    """Path of the file, relative to the config file's folder."""
    task: TaskName = "classification"
    """What the model learns: a label, numbers, or which examples are anomalous."""
    scale: FiniteFloat | None = None
    """Factor in the preprocessing `x * scale + offset`. Default: 1/255 for uint8, 1 for other types; 1 for uint8 that
    holds 0 and 1 alone, or that the model takes as whole numbers."""
    offset: FiniteFloat = 0.0
    """Offset in the preprocessing `x * scale + offset`."""
    shape: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False, min_length=1)] | None = None
    """Shape to which each example is reshaped, such as [28, 28, 1] for images stored without channels. Default: as
    stored."""
    channels: Literal["rgb", "bgr", "grey", "none"] | None = None
    """Channel order of images. Default: for uint8 images `rgb` with 3 channels and `grey` with 1; otherwise `none`."""

    anonymous: ClassVar[frozenset[str]] = frozenset({"source", "path"})

    @property
    def learns(self) -> Task:
        return TASKS[self.task]

    def fingerprint(self) -> str:
        try:
            return file_sha256(self.path)
        except OSError as error:
            raise InputError(
                Fault("the data file can't be read", where=str(self.path), received=error.strerror or "")
            ) from None

    def place(self, split: str) -> str:
        return f"{self.path}: {split}"

    def arrays(self) -> dict[str, Labelled]:
        with self._open() as archive:
            self._require(set(archive.files))
            splits = [split for split in SPLITS if f"x_{split}" in archive.files]
            return {split: self._pair(archive, split) for split in splits}

    def has_splits(self) -> bool:
        """Return whether any array is named as the examples or labels of a split, such as x_train."""
        with self._open() as archive:
            return bool(NAMES.intersection(archive.files))

    def named(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        with self._open() as archive:
            return {name: self._array(archive, name) for name in archive.files}

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            regular_file.size(self.path)
            with self.path.open("rb") as file, self._archive(file) as archive:
                yield archive
        except InputError:
            raise
        except OSError as error:
            raise self._wrong("the data file can't be read", error.strerror or str(error)) from None
        except Exception as error:  # NumPy, zipfile and zlib raise many types for a damaged file
            do = "save it with numpy.savez, which does not compress"
            raise self._wrong("is no readable .npz archive of plain arrays", str(error), do) from None

    def _archive(self, file: BinaryIO) -> Any:
        if not zipfile.is_zipfile(file):
            what = "what is no zip archive, or was cut short"
            raise self._wrong("must be an .npz archive", what, "save it with numpy.savez")
        with zipfile.ZipFile(file) as archive:
            zip_archive.check(archive, zip_archive.memory())
        file.seek(0)
        return np.load(file, allow_pickle=False)  # unpickling can execute code

    def _pair(self, archive: Any, split: str) -> Labelled:
        x = self._array(archive, f"x_{split}")
        if f"y_{split}" in archive.files:
            return x, self._array(archive, f"y_{split}")
        return x, np.zeros(x.shape[:1], np.int64)  # `_require` allows this for unlabelled splits only

    def _array(self, archive: Any, name: str) -> NDArray[Any]:
        array = archive[name]
        if not isinstance(array, np.ndarray):  # NumPy returns the bytes of members that are not .npy
            raise self._wrong(f"{name} must be an array", "other content", "save it with numpy.savez")
        return array

    def _require(self, names: set[str]) -> None:
        for name in sorted(names - NAMES):
            raise self._wrong("holds an array that edgepipe does not know", name, did_you_mean(name, NAMES))
        first = "test" if self._only_tests and not {"x_train", "y_train"} & names else "train"
        for split in SPLITS:
            pair = {f"x_{split}", f"y_{split}"}
            lacking = pair - names - ({f"y_{split}"} if split in self.learns.unlabelled else set())
            if lacking and (split == first or pair & names):
                has = ", ".join(sorted(names)) or "nothing"
                raise self._wrong(f"must hold {' and '.join(sorted(lacking))}", has)

    def _wrong(self, rule: str, received: str, do: str = "") -> InputError:
        return InputError(Fault(rule, where=str(self.path), received=received, do=do))

    def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
        shape = self.shape or x.shape[1:]
        if np.prod(shape) != np.prod(x.shape[1:]):
            raise self._wrong(f"examples must have {np.prod(shape)} values, for shape {list(shape)}", f"{x.shape[1:]}")
        scale = self.scale if self.scale is not None else (1 / 255 if self._are_bytes(x) else 1.0)
        if self.channels in _CHANNELS and (len(shape) != 3 or shape[-1] != _CHANNELS[self.channels]):
            raise self._wrong(f"{self.channels} images are (height, width, {_CHANNELS[self.channels]})", f"{shape}")
        return tuple(shape), scale, self.offset

    def _are_bytes(self, x: NDArray[Any]) -> bool:
        """Whether the training examples are bytes of which 255 stands for 1, as those of pictures."""
        return x.dtype == np.uint8 and self.whole is None and bool(x.max() > 1)

    def channel_order(self, raw: NDArray[Any], shape: tuple[int, ...]) -> Channels | None:
        if self.channels is None:
            return super().channel_order(raw, shape)
        return None if self.channels == "none" else self.channels
