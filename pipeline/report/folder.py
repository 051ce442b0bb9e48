"""A run folder: private until it is complete, then swapped in in one rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import EdgepipeError, Fault, StoreError


@contextmanager
def run_folder(out: Path, name: str) -> Iterator[Path]:
    """A private folder that becomes ``out/name`` when the block ends well, in place of an earlier one.

    When it does not, nothing of ``out/name`` has changed and the log stays as ``out/name.failed.log``.
    """
    with guard(out):
        out.mkdir(parents=True, exist_ok=True)
        _remove_stale(out, name)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-{os.getpid()}-", dir=out))
    failed = out / f"{name}.failed.log"
    try:
        yield work
        with guard(out):
            work.chmod(0o777 & ~_umask())  # mkdtemp's own mode is for the owner alone
            _swap(work, out / name)
            failed.unlink(missing_ok=True)
    except BaseException as error:
        log = work / "log.txt"
        if not log.is_file() or not log.stat().st_size:
            raise
        log.replace(failed)
        if isinstance(error, EdgepipeError):
            raise type(error)(*(replace(f, do=f.do.replace(str(log), str(failed))) for f in error.faults)) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_stale(out: Path, name: str) -> None:
    """Remove private folders of runs that were killed: those whose process is gone."""
    for path in out.glob(f".{name}-*-*"):
        process = path.name.removeprefix(f".{name}-").partition("-")[0]
        if process.isdecimal() and not _alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or no number of a process
        return True
    return True


def _swap(work: Path, target: Path) -> None:
    """Put a finished folder in the place of another; two runs that end at once both succeed, the later one stays."""
    for _ in range(100):
        with tempfile.TemporaryDirectory(prefix=".old-", dir=target.parent) as aside:
            with suppress(FileNotFoundError):
                target.rename(Path(aside) / target.name)
            try:
                work.rename(target)
                return
            except OSError:
                if not target.exists():
                    raise
    raise StoreError(Fault("the run folder can't be replaced", where=str(target), do="close what writes into it"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def guard(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            Fault(
                "the run folder can't be written",
                where=str(place),
                received=error.strerror or str(error),
                do="choose another with --out DIR",
            )
        ) from None
