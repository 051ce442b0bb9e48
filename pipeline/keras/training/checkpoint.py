"""Save the complete state of a training after each epoch (weights, optimizer, callbacks, curves), and restore it."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault, StageError
from pipeline.core.progress import Progress
from pipeline.keras.training.unpredicted import NAME as UNPREDICTED

if TYPE_CHECKING:
    import tf_keras


def checkpoint(
    model: "tf_keras.Model",
    others: Sequence["tf_keras.callbacks.Callback"],
    seed: int,
    resume: Path,
    report: Callable[[Progress], None],
    batches: tuple[int, int],
) -> Any:
    """A callback that saves all state after each epoch; it is created with the last saved state restored.

    Its attributes are `epoch` (number of finished epochs), `finished` (whether the training is over) and `curves`
    (name -> a value per epoch). It raises StageError if the loss is not finite.

    others   callbacks whose state is saved too: EarlyStopping and ReduceLROnPlateau
    resume   the directory for the state
    batches  number of training and of validation batches in an epoch
    """
    import tf_keras

    class Checkpoint(tf_keras.callbacks.Callback):  # type: ignore[misc]
        """Must be the last callback, so that it saves the state from which the next epoch starts."""

        _supports_tf_logs = True  # of batches, so that Keras does not convert the metrics of each to NumPy

        def __init__(self) -> None:
            super().__init__()
            self.epoch = 0
            self.finished = False
            self.curves: dict[str, list[float]] = {}
            self._others: dict[str, dict[str, Any]] = {}
            model.optimizer.build(model.trainable_variables)
            self._variables = [*model.variables, *_state_of(model.optimizer)]
            if saved := _latest(resume):
                self._restore(saved)

        def on_train_begin(self, logs: Any = None) -> None:
            if self.epoch:
                self._report(f"goes on from epoch {self.epoch}")
            for callback in others:  # Keras resets them before each training
                vars(callback).update(self._others.get(type(callback).__name__, {}))

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            _reseed(model, seed, epoch)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            figures = {key: float(value) for key, value in (logs or {}).items() if key not in ("lr", UNPREDICTED)}
            if not np.isfinite(figures["loss"]):
                raise StageError(
                    Fault(
                        f"the loss of epoch {epoch + 1} is {figures['loss']}",
                        do="lower learning_rate, or set clip_norm",
                    )
                )
            for key, value in {**figures, "learning_rate": _current_rate(model)}.items():
                self.curves.setdefault(key, []).append(value)
            self.epoch = epoch + 1
            self.finished = self.epoch == self.params["epochs"] or bool(model.stop_training)
            self._save()
            self._report()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._within("batch", batch + 1, batches[0])

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self._within("validation batch", batch + 1, batches[1])

        def _report(self, note: str = "") -> None:
            curves = {name: tuple(values) for name, values in self.curves.items()}
            report(Progress("epoch", self.epoch, self.params["epochs"], curves, kept=True, note=note))

        def _within(self, what: str, done: int, total: int) -> None:
            inner = Progress(what, done, total)
            report(Progress("epoch", self.epoch, self.params["epochs"], within=inner, kept=True))

        def _save(self) -> None:
            folder = resume / f"epoch-{self.epoch}"
            fresh = resume / "saving"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            np.savez(fresh / "variables.npz", *[variable.numpy() for variable in self._variables])
            states = {type(callback).__name__: _state(callback) for callback in others}
            best = next((state.pop("best_weights", None) for state in states.values() if "best_weights" in state), None)
            if best is not None:
                np.savez(fresh / "best.npz", *best)
            state = {
                "epoch": self.epoch, "finished": self.finished, "curves": self.curves, "others": states,
                "rate": _current_rate(model),
            }  # fmt: skip
            (fresh / "state.json").write_text(json.dumps(state), encoding="utf-8")
            fresh.rename(folder)  # atomic: a folder of this name is always complete
            shutil.rmtree(resume / f"epoch-{self.epoch - 1}", ignore_errors=True)

        def _restore(self, folder: Path) -> None:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            self.epoch, self.finished = state["epoch"], state["finished"]
            self.curves, self._others = state["curves"], state["others"]
            for variable, value in zip(self._variables, _arrays(folder / "variables.npz"), strict=True):
                variable.assign(value)
            if (folder / "best.npz").exists():
                best = _arrays(folder / "best.npz")
                self._others["EarlyStopping"]["best_weights"] = best
                if self.finished:
                    next(o for o in others if type(o).__name__ == "EarlyStopping").best_weights = best
            inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # unwrap LossScaleOptimizer
            if not isinstance(inner._learning_rate, tf_keras.optimizers.schedules.LearningRateSchedule):
                model.optimizer.learning_rate = state["rate"]  # not among the optimizer's variables

    return Checkpoint()


def _state_of(optimizer: "tf_keras.optimizers.Optimizer") -> list[Any]:
    """An optimizer's variables, including those of loss scaling, which Keras does not list."""
    if not hasattr(optimizer, "inner_optimizer"):
        return list(optimizer.variables)
    return [*optimizer.variables, optimizer._loss_scale.current_loss_scale, optimizer.dynamic_counter]


def _latest(folder: Path) -> Path | None:
    """Directory of the last saved epoch of an interrupted training; None if there is none."""
    found = sorted(folder.glob("epoch-*"), key=lambda path: int(path.name.split("-")[1]))
    return found[-1] if found else None


def _arrays(path: Path) -> list[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in archive.files]


def _state(callback: "tf_keras.callbacks.Callback") -> dict[str, Any]:
    """The state that Keras's EarlyStopping and ReduceLROnPlateau keep between epochs."""
    names = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
    state: dict[str, Any] = {name: _plain(getattr(callback, name)) for name in names if hasattr(callback, name)}
    if getattr(callback, "best_weights", None) is not None:
        state["best_weights"] = callback.best_weights
    return state


def _plain(value: Any) -> float | int:
    return value if isinstance(value, int) else float(value)


def _current_rate(model: "tf_keras.Model") -> float:
    return float(np.asarray(model.optimizer.learning_rate))


def _reseed(model: "tf_keras.Model", seed: int, epoch: int) -> None:
    """Reset the random generators of all layers, each to a function of (seed, epoch, index of the layer)."""
    for i, layer in enumerate(model._flatten_layers()):
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            digest = hashlib.sha256(f"{seed}/{epoch}/{i}".encode()).digest()
            generator.reset_from_seed(int.from_bytes(digest[:7], "big"))
