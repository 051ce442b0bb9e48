"""Create a run folder: it is filled under a private name, and replaces an earlier folder when it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import EdgepipeError, Fault, StoreError


@contextmanager
def run_folder(out: Path, name: str) -> Iterator[Path]:
    """Yield a private folder that replaces ``out/name`` when the block succeeds.

    When the block fails, ``out/name`` stays as it was and the log is kept as ``out/name.failed.log``, which the error
    names.
    """
    with guard(out):
        out.mkdir(parents=True, exist_ok=True)
        _remove_stale(out, name)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-{os.getpid()}-", dir=out))
    failed = out / f"{name}.failed.log"
    try:
        yield work
        with guard(out):
            work.chmod(0o777 & ~_umask())  # mkdtemp gives access only to the owner
            _swap(work, out / name)
            failed.unlink(missing_ok=True)
    except BaseException as error:
        log = work / "log.txt"
        if not isinstance(error, Exception) or not log.is_file() or not log.stat().st_size:
            raise  # of an interrupted run, which goes on, nothing has to be explained
        log.replace(failed)
        if isinstance(error, EdgepipeError):
            raise type(error)(*_naming(failed, log, error.faults)) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _naming(kept: Path, log: Path, faults: Sequence[Fault]) -> list[Fault]:
    """Name the log where it was kept, in the place of where it was written; in the last fault if none names it."""
    named = [replace(fault, do=fault.do.replace(str(log), str(kept))) for fault in faults]
    if not any(str(kept) in fault.do for fault in named):
        said = "what TensorFlow printed is in"
        named[-1] = replace(named[-1], do=f"{named[-1].do}; {said} {kept}" if named[-1].do else f"{said} {kept}")
    return named


def _remove_stale(out: Path, name: str) -> None:
    """Remove private folders of killed runs, whose process no longer exists."""
    for path in out.glob(f".{name}-*-*"):
        process = path.name.removeprefix(f".{name}-").partition("-")[0]
        if process.isdecimal() and not _alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or not a valid process id
        return True
    return True


def _swap(work: Path, target: Path) -> None:
    """Replace a folder with a finished one. When two runs end at once both succeed, and the later one stays."""
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
