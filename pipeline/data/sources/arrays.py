"""The base class of data sources that are arrays in memory: validation, preprocessing and splitting."""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from pipeline.core.errors import Fault, InputError
from pipeline.core.hashing import array_sha256, example_digest
from pipeline.data.contract import Channels, Contract
from pipeline.data.source import SPLITS, Data, Network
from pipeline.data.spec import Spec, Whole
from pipeline.data.splitting import Fractions, stratified
from pipeline.data.tasks.task import TASKS, Task

Labelled = tuple[NDArray[Any], NDArray[Any]]  # examples (N, ...) and their labels (N,) or values (N, M)
_FEWEST_STEPS = 16  # of float32 between the least and the greatest value; fewer are no measurement
_FLOAT32_MAX = np.finfo(np.float32).max


@dataclass(frozen=True)
class ArrayExamples:
    """One split in memory. Batches are preprocessed as ``x * scale + offset`` in float32 when they are read.

    x      raw examples (N, ...), in their stored dtype
    y      ground truth (N,) or (N, M); see `Examples.batch`
    shape  shape of one example, to which the raw ones are reshaped
    ids    whether the values are ids, which are read as int32 without any arithmetic
    """

    x: NDArray[Any]
    y: NDArray[Any]
    shape: tuple[int, ...]
    scale: float
    offset: float
    ids: bool = False

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.ids:
            return self.raw(indices).astype(np.int32), self.y[indices]
        x = self.raw(indices).astype(np.float32)
        return x * np.float32(self.scale) + np.float32(self.offset), self.y[indices]

    def raw(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        return self.x[indices].reshape(len(indices), *self.shape)

    @cached_property
    def sha256(self) -> str:
        return array_sha256(self.x, self.y)


class ArrayData(Data):
    """Base class of sources that are arrays in memory.

    It checks the arrays, cuts missing splits from the training examples, and writes the contract. For example::

        class Wine(ArrayData):
            \"\"\"178 wines of three growers, with thirteen chemical values (13,) each.\"\"\"

            source: Literal["wine"]
            anonymous: ClassVar[frozenset[str]] = frozenset({"source"})

            def fingerprint(self) -> str:
                return file_sha256(PATH)

            def place(self, split: str) -> str:
                return "wine"

            def arrays(self) -> dict[str, Labelled]:
                table = np.loadtxt(PATH, delimiter=",", skiprows=1)
                return {"train": (table[:, :-1], table[:, -1].astype(np.int64))}

            def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
                return (13,), 1.0, 0.0
    """

    splits: Fractions = Fractions()
    """Fractions of the training examples for the splits that the source lacks, stratified by label."""
    split_seed: int = Field(default=0, ge=0)
    """Random seed of the splitting. Independent of the run's `seed`, so that changing that keeps the test split."""
    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Names of the classes in label order, or of the numbers that regression predicts. Default: numbers from 0 for
    classes, `y` or `y0`, `y1`, ... for regression."""

    _cut: dict[str, ArrayExamples] = PrivateAttr(default_factory=dict)
    _places: dict[str, NDArray[np.int64]] = PrivateAttr(default_factory=dict)  # in train, of the splits cut from it
    _names: tuple[str, ...] = PrivateAttr(default=())
    _only_tests: bool = PrivateAttr(default=False)

    @property
    def learns(self) -> Task:
        """The task of the data; classification by default."""
        return TASKS["classification"]

    @model_validator(mode="after")
    def _labels_fit(self) -> "ArrayData":
        task = self.learns
        if self.labels and task.fewest is None:
            raise ValueError(f"labels: there is nothing to name for {task.name}")
        if self.labels and len(self.labels) < (task.fewest or 0):
            raise ValueError(f"labels: must name {task.fewest} or more for {task.name}")
        return self

    @abstractmethod
    def arrays(self) -> Mapping[str, Labelled]:
        """Return the splits that the source provides, with their examples and labels or values. `train` is required."""

    @abstractmethod
    def place(self, split: str) -> str:
        """Return where the arrays of a split come from, for messages."""

    @abstractmethod
    def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
        """Return the shape of one example, and scale and offset of ``x * scale + offset``, for training examples x."""

    def label_names(self) -> tuple[str, ...] | None:
        """Return the names of the classes or numbers, once `arrays` was called: those of the config, unless the data
        have their own; None if there are none."""
        return self.labels

    def together(self, x: NDArray[Any]) -> Sequence[Hashable]:
        """Return a key for each training example; examples of one key get into the same split.

        By default equal examples have the same key.
        """
        return [example_digest(example) for example in x]

    def channel_order(self, raw: NDArray[Any], shape: tuple[int, ...]) -> Channels | None:
        """Return the channel order of examples of this shape, or None if they are not images.

        By default uint8 examples of shape (height, width, 1 or 3) are images.
        """
        if raw.dtype != np.uint8 or len(shape) != 3:
            return None
        return "grey" if shape[-1] == 1 else "rgb" if shape[-1] == 3 else None

    def feeding(self, whole: Whole | Network | None) -> Self:
        fed = super().feeding(whole)
        fed._cut, fed._names = {}, ()  # what was read for another network does not count
        return fed

    def for_tests(self, **changes: Any) -> Self:
        """Return this source with other settings, for verification alone: a test split is enough."""
        source = self.model_copy(update=changes)
        source._cut, source._names, source._only_tests = {}, (), True
        return source

    def contract(self) -> Contract:
        examples, spec = self._examples(), self.spec()
        train = examples.get("train", examples["test"])
        channels = None if spec.ids else self.channel_order(train.x, spec.shape)
        return Contract(
            task=self.learns.name,
            raw_dtype="int32" if spec.ids else train.x.dtype.name,
            range=(float(train.x.min()), float(train.x.max())),
            scale=train.scale,
            offset=train.offset,
            shape=spec.shape,
            layout="NHWC" if channels else None,
            channels=channels,
            labels=spec.labels,
            ids=spec.ids,
        )

    def spec(self) -> Spec:
        return Spec(self._examples()["test"].shape, self._names, self.learns, self.whole)

    def split(self, name: str) -> ArrayExamples:
        return self._examples()[name]

    def positions(self, split: str) -> tuple[str, NDArray[np.int64]]:
        self._examples()
        return ("train", self._places[split]) if split in self._places else super().positions(split)

    def _examples(self) -> dict[str, ArrayExamples]:
        if not self._cut:
            given = {name: self._checked(name, *pair) for name, pair in self.arrays().items()}
            self._check_together(given)
            first = "train" if "train" in given else "test"
            with self._placed(first):
                self._names = self.learns.names({name: y for name, (_, y) in given.items()}, self.label_names())
            shape, scale, offset = self.preprocessing(given[first][0])
            if whole := self.whole:
                self._check_whole(given, whole, scale, offset)
            for name, (x, y) in self._all_splits(given).items():
                self._cut[name] = ArrayExamples(x, y, shape, scale, offset, bool(whole and whole.ids))
        return self._cut

    def _check_whole(self, given: Mapping[str, Labelled], whole: Whole, scale: float, offset: float) -> None:
        """Raise InputError unless all examples are whole numbers that the network takes, and stay as they are."""
        what = "ids" if whole.ids else "whole numbers"
        if (scale, offset) != (1, 0):
            rule = f"the model's input takes {what} as they are: there must be no scale and no offset"
            received = f"scale {scale:.6g}, offset {offset:.6g}"
            raise InputError(Fault(rule, where=self.place(next(iter(given))), received=received, do="leave both out"))
        for split, (x, _) in given.items():
            with np.errstate(invalid="ignore"):
                wrong = (x < 0) | (x >= whole.below) | (x != np.floor(x) if x.dtype.kind == "f" else False)
            if wrong.any():
                first = tuple(int(place) for place in np.argwhere(wrong)[0])
                rule = f"the model's input takes {what} from 0 to {whole.below - 1}"
                received = f"{x[first]} in example {first[0]}, at {list(first[1:])}; {np.sum(wrong)} like it"
                do = "map other ids to one that stands for unknown words" if whole.ids else ""
                raise InputError(Fault(rule, where=self.place(split), received=received, do=do))

    @contextmanager
    def _placed(self, split: str) -> Iterator[None]:
        """Add a location to faults raised by the task: that of the split that they name, or else of `split`."""
        try:
            yield
        except InputError as error:
            raise InputError(*(replace(f, where=self.place(f.where or split)) for f in error.faults)) from None

    def _checked(self, split: str, x: NDArray[Any], y: NDArray[Any]) -> Labelled:
        def wrong(rule: str, received: object, do: str = "") -> InputError:
            return InputError(Fault(rule, where=self.place(split), received=str(received), do=do))

        x = x.view(np.uint8) if x.dtype == bool else x
        if x.ndim < 2 or x.dtype.kind not in "uif":
            raise wrong("examples must be an array (N, ...) of numbers", f"{x.dtype} {x.shape}")
        with self._placed(split):
            y = self.learns.truth(y, self.label_names())
        if len(x) != len(y):
            raise wrong("examples and labels must be equally many", f"{len(x)} examples, {len(y)} labels")
        if not x.size:
            raise wrong("must hold at least one example, with one value or more", f"{x.shape}")
        if x.dtype.kind == "f" and not -_FLOAT32_MAX <= x.min() <= x.max() <= _FLOAT32_MAX:
            first = int(np.flatnonzero(~(np.abs(x.reshape(len(x), -1)) <= _FLOAT32_MAX).all(axis=1))[0])
            raise wrong("examples must be finite in float32", f"NaN, infinity or more in example {first}")
        least, most = x.min().item(), x.max().item()
        step = float(np.spacing(np.float32(max(abs(least), abs(most)))))
        if least < most and most - least < _FEWEST_STEPS * step:
            do = "subtract what all values have in common, such as the first time stamp"
            raise wrong(f"examples must differ by more than float32 can tell, {step:g} here", f"{least} to {most}", do)
        return x, y

    def _check_together(self, given: Mapping[str, Labelled]) -> None:
        first = "train" if "train" in given else "test"
        x, _ = given[first]
        for name, (other, _) in given.items():
            if (other.shape[1:], other.dtype) != (x.shape[1:], x.dtype):
                rule = f"examples must be {x.dtype} {x.shape[1:]}, as in {first}"
                received = f"{other.dtype} {other.shape[1:]}"
                raise InputError(Fault(rule, where=self.place(name), received=received))

    def _all_splits(self, given: Mapping[str, Labelled]) -> dict[str, Labelled]:
        if "train" not in given:
            return dict(given)
        x, y = given["train"]
        shares = {name: getattr(self.splits, name) for name in SPLITS[1:] if name not in given}
        parts = dict(given)
        for name, indices in stratified(self.together(x), self.learns.strata(y), shares, self.split_seed).items():
            if not len(indices):
                rule = f"is too small to cut a {name} split from"
                raise InputError(Fault(rule, where=self.place("train"), received=f"{len(x)} examples"))
            parts[name] = (x[indices], y[indices])
            self._places[name] = indices
        return parts
