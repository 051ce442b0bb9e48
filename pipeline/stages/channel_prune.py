"""Remove whole channels, so that the network gets smaller and every kernel faster, and train on."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault, StageError, did_you_mean
from pipeline.core.settings import Portion
from pipeline.keras import tf
from pipeline.keras.pruning import importance
from pipeline.keras.pruning.channels import COUNTED, Group, Kept, Wiring, wiring, without
from pipeline.keras.pruning.importance import Criterion, Scores
from pipeline.keras.surgery import graph
from pipeline.keras.training import fit
from pipeline.keras.training.batches import Augment, shuffled
from pipeline.keras.types import KerasModel
from pipeline.stages.sidecar import write_facts
from pipeline.stages.stage import KERAS, Inputs
from pipeline.stages.taught import APART, FILLED, WRAPPED, Taught

Counts = dict[str, int]  # channels to keep, by the name of a group


class ChannelPrune(Taught):
    """Structured pruning: filters, with all that reads them, are taken out, and what is left is trained on.

    Layers whose outputs are added, multiplied or compared lose the same channels. Channels that reach a layer of
    unknown effect, the model's input or its output stay; the report says why, layer by layer.
    """

    takes = "keras"
    gives = "keras"
    not_behind: ClassVar[Mapping[str, str]] = {"prune": FILLED, "cluster": APART, "qat": WRAPPED}
    resizes = True

    stage: Literal["channel_prune"]
    keep_macs: Portion | None = None
    """Share of the multiply-accumulates to be left at most. What matters least in the whole network goes first."""
    keep: Portion | None = None
    """Share of the channels to keep in each layer, in place of keep_macs."""
    layers: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default={})
    """Share of the channels to keep in single layers: name or pattern -> share. The last that fits counts. Without
    keep_macs and keep, all other layers stay whole."""
    criterion: Criterion = "l1"
    """What a channel matters: the `l1` or `l2` norm of its filters, its factor in batch normalisation (`bn_scale`), or
    the first-order change of the loss without it (`taylor`)."""
    least: Portion = 0.25
    """Share of its channels that each layer keeps whatever keep_macs asks."""
    multiple: PositiveInt = 4
    """Channels that are left come in multiples of it, for SIMD kernels; 8 suits most phones."""
    batches: PositiveInt = 8
    """Training batches that `taylor` looks at."""

    @model_validator(mode="after")
    def _one_goal(self) -> "ChannelPrune":
        if self.keep_macs is not None and self.keep is not None:
            raise ValueError("keep_macs: give either keep_macs or keep")
        if self.keep_macs is None and self.keep is None and not self.layers:
            raise ValueError("keep_macs: give keep_macs, keep or layers")
        return self

    def unmatched(self, model: KerasModel) -> Iterator[PlacedFault]:
        makers = list(_makers(wiring(graph.flat(model))))
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in makers):
                rule = f"no layer that makes channels matches {pattern!r}"
                yield ("layers",), Fault(rule, do=did_you_mean(pattern, makers))

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        wired = wiring(graph.flat(model))
        if contradictions := list(self._contradictions(wired)):
            yield from contradictions
            return
        scores = importance.scales(wired) if self.criterion == "bn_scale" else importance.norms(wired, 1)
        try:
            self._counts(wired, scores)  # how many channels can go is the same whichever these are
        except StageError as error:
            yield from (((), fault) for fault in error.faults)

    def leaves(self, model: KerasModel) -> KerasModel:
        return graph.flat(model)

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = graph.flat(tf.load_model(inputs.source.keras))
        wired = wiring(model)
        self.check([*self.unmatched(model), *self._contradictions(wired)])
        scores = self._scores(wired, inputs)
        reasons, counts = self._counts(wired, scores)
        kept = _kept(wired, scores, counts)
        smaller = without(model, wired, kept)
        curves = self.fit(smaller, inputs, tf.gives_logits(model))
        tf.save_model(smaller, work / KERAS)
        write_facts(work, curves, list(_rows(wired, kept, reasons)), [_note(wired, kept)])

    def _asked(self, wired: Wiring) -> dict[str, set[float]]:
        """The shares that `layers` asks of each group."""
        asked = {name: share for p, share in self.layers.items() for name in _makers(wired) if fnmatchcase(name, p)}
        return {group.name: {asked[name] for name in group.layers if name in asked} for group in wired.groups}

    def _contradictions(self, wired: Wiring) -> Iterator[PlacedFault]:
        """What `layers` asks of a group that can't be."""
        shares = self._asked(wired)
        for name, found in shares.items():
            if len(found) > 1:
                rule = f"{name} lose the same channels and can have one share alone"
                yield ("layers",), Fault(rule, received=f"{sorted(found)}")
        for group in wired.groups:
            if group.why and shares[group.name] - {1.0}:
                received = str(min(shares[group.name]))
                yield ("layers",), Fault(f"no channel of {group.name} can go", received=received, do=group.why)

    def _fixed(self, wired: Wiring) -> dict[str, float]:
        """The share that `layers` asks of a group, where it asks one."""
        return {name: found.pop() for name, found in self._asked(wired).items() if found}

    def _scores(self, wired: Wiring, inputs: Inputs) -> Scores:
        if self.criterion in ("l1", "l2"):
            return importance.norms(wired, int(self.criterion[1]))
        if self.criterion == "bn_scale":
            return importance.scales(wired)
        task, outputs = inputs.data.spec().task, wired.model.output_shape[1:]
        loss = fit.loss_of(outputs, task, tf.gives_logits(wired.model), self.label_smoothing)
        batches = shuffled(
            inputs.data.split("train"),
            batch_size=self.batch_size,
            task=task,
            outputs=outputs,
            seed=inputs.seed,
            epochs=range(1),
            augment=Augment(),
            weights=None,
        )
        return importance.taylor(wired, loss, islice(batches, self.batches))

    def _counts(self, wired: Wiring, scores: Scores) -> tuple[dict[str, str], Counts]:
        """Why each group keeps all channels, "" for one that need not, and how many it keeps.

        StageError when none can go, or not as many as asked.
        """
        fixed = self._fixed(wired)
        reasons = {group.name: _why_whole(group, fixed, scores) for group in wired.groups}
        free = [group for group in wired.groups if not reasons[group.name] and group.name not in fixed]
        counts = {group.name: len(group.channels) for group in wired.groups}
        for group in wired.groups:
            if group.name in fixed or (self.keep and group in free):
                counts[group.name] = self._rounded(group, fixed.get(group.name, self.keep or 1))
        if self.keep_macs:
            counts |= self._within(wired, scores, free, counts)
        if all(counts[group.name] == len(group.channels) for group in wired.groups):
            received = "; ".join(f"{name}: {why or f'{counts[name]} channels'}" for name, why in reasons.items())
            do = "lower keep or multiple"
            raise StageError(Fault("there is no channel to remove", received=received, do=do))
        return reasons, counts

    def _within(self, wired: Wiring, scores: Scores, free: list[Group], counts: Counts) -> Counts:
        """The counts that remove as few as possible of the least important channels, to be within keep_macs.

        Counts are multiples, so removing one more channel can take several; what fits in again comes back.
        """
        limit = (self.keep_macs or 1) * wired.total_macs(wired.all)
        owner = {int(channel): group.name for group in free for channel in group.channels}
        ranked = [owner[channel] for channel in sorted(owner, key=lambda channel: (scores[channel], channel))]

        def after(removed: int) -> Counts:
            gone = ranked[:removed]
            left = {group.name: (len(group.channels) - gone.count(group.name)) / len(group.channels) for group in free}
            return counts | {group.name: self._rounded(group, max(left[group.name], self.least)) for group in free}

        def macs(removed: int) -> int:
            return wired.total_macs(_kept(wired, scores, after(removed)))

        low, high = 0, len(ranked)
        if macs(high) > limit:
            share = macs(high) / wired.total_macs(wired.all)
            do = "lower least or multiple, or raise keep_macs"
            rule = f"keep_macs must be at least {share:.3f} with least: {self.least:g} and multiple: {self.multiple}"
            raise StageError(Fault(rule, received=f"{self.keep_macs:g}", do=do))
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if macs(middle) <= limit else (middle + 1, high)
        counts, groups = after(low), {group.name: group for group in free}
        for name in reversed(ranked[:low]):
            more = counts | {name: min(len(groups[name].channels), counts[name] + self.multiple)}
            counts = more if wired.total_macs(_kept(wired, scores, more)) <= limit else counts
        return counts

    def _rounded(self, group: Group, share: float) -> int:
        """Channels that are that share of a group, up to the next multiple."""
        size = len(group.channels)
        wanted = max(1, round(share * size, 6))
        return min(size, int(-(-wanted // self.multiple)) * self.multiple)


def _makers(wired: Wiring) -> dict[str, None]:
    """Names of the layers that make channels, in running order."""
    return dict.fromkeys(name for group in wired.groups for name in group.layers)


def _why_whole(group: Group, fixed: dict[str, float], scores: Scores) -> str:
    """Why a group keeps all channels; "" when some may go."""
    if group.why:
        return group.why
    if fixed.get(group.name) == 1:
        return "is named in layers with 1"
    if np.isnan(scores[group.channels]).any():
        return "has no batch normalisation with a factor for each channel, which bn_scale goes by"
    return ""


def _kept(wired: Wiring, scores: Scores, counts: Counts) -> Kept:
    """The channels that stay: of each group the most important, of equals the first."""
    kept: Kept = wired.all.copy()
    for group in wired.groups:
        by_rank = group.channels[np.lexsort((group.channels, -scores[group.channels]))]
        kept[by_rank[counts[group.name] :]] = False
    return kept


def _rows(wired: Wiring, kept: Kept, reasons: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What became of each layer with weights: channels, multiply-accumulates and parameters before and after.

    Multiply-accumulates are null for a layer whose products can't be counted. Batch normalisation goes with its layer.
    """
    whys = {name: reasons[group.name] for group in wired.groups for name in group.layers}
    for layer in wired.model.layers:
        kind, ids = type(layer).__name__, wired.gives[layer.name]
        if not layer.weights or kind in ("BatchNormalization", "PReLU"):
            continue
        done = not kept[ids].all()
        counted = kind in COUNTED and len(ids) > 0
        unknown = "" if counted else f"what a {kind} does to channels is unknown"
        frozen = next((wired.frozen[int(i)] for i in ids if int(i) in wired.frozen), "")
        why = unknown or whys.get(layer.name) or frozen or "none of its channels is among those that matter least"
        yield {
            "layer": layer.name,
            "kind": kind,
            "done": done,
            "why": "" if done else why,
            "channels": [len(ids), int(kept[ids].sum())] if counted else None,
            "macs": [wired.macs(layer, wired.all), wired.macs(layer, kept)] if counted else None,
            "parameters": [wired.parameters(layer, wired.all), wired.parameters(layer, kept)],
        }


def _note(wired: Wiring, kept: Kept) -> str:
    layers = wired.model.layers
    before, after = wired.total_macs(wired.all), wired.total_macs(kept)
    parameters = [sum(wired.parameters(layer, which) for layer in layers) for which in (wired.all, kept)]
    return (
        f"MACs went from {units.count(before)} to {units.count(after)} ({after / before:.1%}), parameters from "
        f"{units.count(parameters[0])} to {units.count(parameters[1])}; no kernel has to know of it"
    )
