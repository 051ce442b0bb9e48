"""The stage `channel_prune`: remove whole channels, which makes the network smaller and faster, and train on."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault, StageError, did_you_mean
from pipeline.core.progress import step
from pipeline.core.settings import Portion
from pipeline.keras import tf
from pipeline.keras.pruning import importance
from pipeline.keras.pruning.channels import COUNTED, Group, Kept, Wiring, wiring, without
from pipeline.keras.pruning.importance import Criterion, Scores
from pipeline.keras.surgery.flat import flat
from pipeline.keras.training import fit
from pipeline.keras.training.batches import Augment, shuffled
from pipeline.keras.types import KerasModel
from pipeline.stages.sidecar import write_facts
from pipeline.stages.stage import KERAS, Inputs
from pipeline.stages.taught import APART, FILLED, WRAPPED, Taught

Counts = dict[str, int]  # name of a group -> number of channels to keep


class ChannelPrune(Taught):
    """Structured pruning: remove filters and the weights of all layers that read them, then train what is left.

    Layers whose outputs are added, multiplied or compared lose the same channels. Channels of the model's input and
    output stay, and so do channels that reach a layer whose effect on channels is unknown. The report gives the reason
    for each layer.
    """

    takes = "keras"
    gives = "keras"
    not_behind: ClassVar[Mapping[str, str]] = {"prune": FILLED, "cluster": APART, "qat": WRAPPED}
    resizes = True

    stage: Literal["channel_prune"]
    keep_macs: Portion | None = None
    """Largest share of the multiply-accumulates to keep, a fraction. The least important channels of the whole network
    are removed first."""
    keep: Portion | None = None
    """Share of the channels to keep in each layer, a fraction; instead of `keep_macs`."""
    layers: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default={})
    """Share of the channels to keep in single layers: layer name or pattern -> fraction. The last match applies. If
    neither `keep_macs` nor `keep` is set, all other layers keep all channels."""
    criterion: Criterion = "l1"
    """How the importance of a channel is measured: the `l1` or `l2` norm of its filters, its batch normalisation factor
    gamma (`bn_scale`), or the first-order change of the loss when it is removed (`taylor`)."""
    least: Portion = 0.25
    """Smallest share of its channels that each layer keeps under `keep_macs`, a fraction."""
    multiple: PositiveInt = 4
    """The number of channels kept is a multiple of this, for SIMD kernels; 8 suits most phones."""
    batches: PositiveInt = 8
    """Number of training batches that `taylor` uses."""

    @model_validator(mode="after")
    def _one_goal(self) -> "ChannelPrune":
        if self.keep_macs is not None and self.keep is not None:
            raise ValueError("keep_macs: give either keep_macs or keep")
        if self.keep_macs is None and self.keep is None and not self.layers:
            raise ValueError("keep_macs: give keep_macs, keep or layers")
        return self

    def unmatched(self, model: KerasModel) -> Iterator[PlacedFault]:
        makers = list(_makers(wiring(flat(model))))
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in makers):
                rule = f"no layer that makes channels matches {pattern!r}"
                yield ("layers",), Fault(rule, do=did_you_mean(pattern, makers))

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        wired = wiring(flat(model))
        if contradictions := list(self._contradictions(wired)):
            yield from contradictions
            return
        scores = importance.scales(wired) if self.criterion == "bn_scale" else importance.norms(wired, 1)
        try:
            self._counts(wired, scores)  # the counts do not depend on which channels score best
        except StageError as error:
            yield from (((), fault) for fault in error.faults)

    def leaves(self, model: KerasModel) -> KerasModel:
        return flat(model)

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = flat(tf.load_model(inputs.source.keras))
        wired = wiring(model)
        self.check([*self.unmatched(model), *self._contradictions(wired)])
        step("choosing channels")
        scores = self._scores(wired, inputs)
        reasons, counts = self._counts(wired, scores)
        kept = _kept(wired, scores, counts)
        smaller = without(model, wired, kept)
        curves = self.fit(smaller, inputs, tf.gives_logits(model))
        tf.save_model(smaller, work / KERAS)
        write_facts(work, curves, list(_rows(wired, kept, reasons)), [_note(wired, kept)])

    def _asked(self, wired: Wiring) -> dict[str, set[float]]:
        """Group -> the shares that `layers` requests for its layers."""
        asked = {name: share for p, share in self.layers.items() for name in _makers(wired) if fnmatchcase(name, p)}
        return {group.name: {asked[name] for name in group.layers if name in asked} for group in wired.groups}

    def _contradictions(self, wired: Wiring) -> Iterator[PlacedFault]:
        """Yield what `layers` requests of a group that is impossible."""
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
        """Group -> the share that `layers` requests, for groups where it does."""
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
        """Why each group keeps all channels ("" if some can be removed), and how many channels each group keeps.

        Raises StageError if no channel can be removed, or not enough for `keep_macs`.
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
        """The counts that remove as few channels as possible, least important first, to stay within keep_macs.

        Counts are rounded to multiples, so removing one more channel can free more than needed. Channels that still fit
        the limit are therefore put back at the end.
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
        """That share of a group's channels, rounded up to the next multiple."""
        size = len(group.channels)
        wanted = max(1, round(share * size, 6))
        return min(size, int(-(-wanted // self.multiple)) * self.multiple)


def _makers(wired: Wiring) -> dict[str, None]:
    """Names of the layers that make channels, in running order, as the keys of a dict."""
    return dict.fromkeys(name for group in wired.groups for name in group.layers)


def _why_whole(group: Group, fixed: dict[str, float], scores: Scores) -> str:
    """Why a group keeps all channels; "" if some can be removed."""
    if group.why:
        return group.why
    if fixed.get(group.name) == 1:
        return "is named in layers with 1"
    if np.isnan(scores[group.channels]).any():
        return "has no batch normalisation with a factor for each channel, which bn_scale goes by"
    return ""


def _kept(wired: Wiring, scores: Scores, counts: Counts) -> Kept:
    """The channels to keep: the most important of each group; among equals, the first."""
    kept: Kept = wired.all.copy()
    for group in wired.groups:
        by_rank = group.channels[np.lexsort((group.channels, -scores[group.channels]))]
        kept[by_rank[counts[group.name] :]] = False
    return kept


def _rows(wired: Wiring, kept: Kept, reasons: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A report row for each layer with weights: channels, multiply-accumulates and parameters, before and after.

    Multiply-accumulates are null for a layer where they can't be counted. Batch normalisation and PReLU get no row:
    they follow the layer before them.
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
