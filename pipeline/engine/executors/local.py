"""The executor that runs stages on this machine, each in a child process, so that a crash becomes an exception."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.config import Config
from pipeline.core.errors import StoreError
from pipeline.core.progress import Progress, listening, paced
from pipeline.core.store import Store, key_of, store_fault
from pipeline.data.source import Data
from pipeline.engine.executors.inline import Inline
from pipeline.engine.watcher import Watcher
from pipeline.keras.models.model import Model
from pipeline.stages.stage import Artifact, Inputs, Made, Stage

_FULL = 1 << 20  # bytes that are left on a file system that counts as full
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class Local:
    """Runs each stage in a child process. See `pipeline.stages.stage.Executor`.

    Output of TensorFlow and other libraries goes to the file `log`.
    """

    def __init__(self, config: Config, store: Store, log: Path, watcher: Watcher) -> None:
        self.config, self.store, self.log, self.watcher = config, store, log, watcher
        self._warm = False

    def warm(self) -> None:
        """Load TensorFlow, unless that was done. Stages then start at once."""
        from pipeline.core import processes  # not before something is to be made

        if not self._warm:
            self.watcher.doing("loading TensorFlow")
            processes.start_server(self.log)
            processes.warm(self.log)
            self._warm = True

    def make(
        self,
        stage: Stage,
        identity: Mapping[str, Any],
        upstream: Mapping[str, Artifact],
        report: Callable[[Progress], None],
    ) -> Made:
        from pipeline.core import processes

        self.warm()
        resume = self.store.partial(key_of(identity))
        config = self.config

        def fill(work: Path) -> None:
            self.watcher.started(stage.label)
            models = [model for _, model in config.networks()]
            given = (stage, config.data, config.model, config.seed, upstream, resume, self.store.root, work, models)
            processes.call(f"stage {stage.label!r}", self.log, report, _run, *given)

        made = Made(*self.store.make(stage.kind, identity, fill, partial(self.watcher.waiting, stage.label)))
        if not made.cached:
            self.watcher.finished(stage.label, made.entry.seconds)
        return made


def _run(
    send: Callable[[Progress], None],
    stage: Stage,
    data: Data,
    model: Model,
    seed: int,
    upstream: Mapping[str, Artifact],
    resume: Path,
    store: Path,
    work: Path,
    models: Sequence[Model],
) -> None:
    """Run a stage; executed in a child process. Raises StoreError if its work directory can't be written.

    models: all that the config names, because the stages above may have been made from any of them
    """
    for each in models:
        each.prepare()
    executor, report = Inline(data, model, seed, Store(store)), paced(send)
    try:
        with listening(report):
            stage.run(Inputs(data, model, seed, upstream, resume, report, executor), work)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise StoreError(store_fault(store, error, "written")) from error
        if shutil.disk_usage(work).free < _FULL:  # HDF5 then fails with messages about its own inner state
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise StoreError(store_fault(store, full, "written")) from error
        raise
