"""Read an untrusted run folder, and compare each file in it with the size and sha256 in its report.

File names that point outside the folder, links, devices and oversized files are refused.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.config.config import Config, with_paths
from pipeline.core.errors import EdgepipeError, Fault, InputError
from pipeline.core.hashing import file_sha256
from pipeline.core.settings import NAME
from pipeline.report import checksums, decisions
from pipeline.report.document import FileFacts, Report
from pipeline.stages.verify import Verify
from pipeline.verify.model_facts import Facts, ModelFacts

MOST_BYTES = 64 << 20  # limit for the report and each page: ten models with a thousand classes take 50 MiB
PAGES = ("report.json", "report.md", "report.html", "junit.xml", "config.yaml")


class Mismatch(Facts):
    """One difference between a run folder and what is expected of it."""

    file: str
    what: str
    expected: str
    received: str


@dataclass(frozen=True)
class Folder:
    """A run folder with its report.

    text           the content of report.json
    config         the report's config, with paths from where the folder is now
    stated_config  the same with the paths as they are written, which stay the same when the folder is moved
    """

    path: Path
    text: str
    report: Report
    config: Config
    stated_config: Config

    @property
    def verifies(self) -> tuple[Verify, ...]:
        return tuple(stage for stage in self.config.stages if isinstance(stage, Verify))

    @property
    def stated(self) -> dict[str, FileFacts]:
        """Size and sha256 in the report of each file, without the report's own pages."""
        models = {m.file: FileFacts(sha256=m.sha256, bytes=m.bytes) for m in self.report.models}
        return models | self.report.files

    @property
    def intact(self) -> tuple[ModelFacts, ...]:
        """The models whose files have the size and sha256 in the report."""
        return tuple(model for model in self.report.models if not list(_stated(self, model.file)))


def load(path: Path) -> Folder:
    """Read a run folder, or the report.json in it. Raises InputError for anything else or another schema version."""
    path = path / "report.json" if path.is_dir() else path
    text = plain_text(path)
    try:
        report = Report.model_validate_json(text)
        if not report.config:
            raise _no_report(path, "of a run", "one of single files")
        stated = Config.model_validate(report.config)
        config = Config.model_validate(with_paths(report.config, lambda name: str(path.parent / name)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        received = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise _no_report(path, "of this version of edgepipe", received) from None
    except EdgepipeError as error:
        raise error if isinstance(error, InputError) else _no_report(path, "with a valid config", str(error)) from None
    expected = [(model.file, f"{model.name}.tflite") for model in report.models]
    for name, plain in (*expected, *((name, decisions.FILE) for name in report.files)):
        if name != plain or not re.fullmatch(NAME, name):
            raise _no_report(path, f"whose files are in its own folder, here {plain!r}", repr(name))
    return Folder(path.parent, text, report, config, stated)


def _no_report(path: Path, which: str, received: str) -> InputError:
    return InputError(Fault(f"must be a report {which}", where=str(path), received=received[:300]))


def plain_text(path: Path) -> str:
    """Read the text of a regular file of at most MOST_BYTES. Raises InputError for anything else."""
    size = plain_size(path)
    if size is None:
        raise InputError(Fault("can't be read", where=str(path), received="no such file"))
    if size > MOST_BYTES:
        rule = f"must have at most {MOST_BYTES >> 20} MiB"
        raise InputError(Fault(rule, where=str(path), received=f"{size >> 20} MiB"))
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(Fault("must be UTF-8 text", where=str(path), received="other bytes")) from None
    except OSError as error:
        raise InputError(Fault("can't be read", where=str(path), received=error.strerror or "")) from None


def plain_size(path: Path) -> int | None:
    """Size of a regular file in bytes; None when it does not exist. Raises InputError for a link, device or folder."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(Fault("can't be read", where=str(path), received=error.strerror or "")) from None
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder"}
        received = kinds.get(stat.S_IFMT(found.st_mode), "a device or pipe")
        raise InputError(Fault("must be a regular file", where=str(path), received=received))
    return found.st_size


def file_mismatches(folder: Folder) -> Iterator[Mismatch]:
    """Yield files that are missing, that differ from the report or SHA256SUMS, or that do not belong in the folder."""
    for name in folder.stated:
        yield from _stated(folder, name)
    known = {*folder.stated, *PAGES, *checksums.UNSUMMED}
    for name in sorted(known):
        if name not in folder.stated and plain_size(folder.path / name) is None:
            yield Mismatch(file=name, what="file", expected="is there", received="is not there")
    yield from _sums(folder, known)
    for name in sorted({path.name for path in folder.path.iterdir()} - known):
        yield Mismatch(file=name, what="file", expected="none of that name", received="is there")


def _stated(folder: Folder, name: str) -> Iterator[Mismatch]:
    """Yield the difference between one file and the size and sha256 in the report."""
    stated, size = folder.stated[name], plain_size(folder.path / name)
    if size is None:
        yield Mismatch(file=name, what="file", expected="is there", received="is not there")
    elif size != stated.bytes:
        yield Mismatch(file=name, what="bytes", expected=str(stated.bytes), received=str(size))
    elif (found := file_sha256(folder.path / name)) != stated.sha256:
        yield Mismatch(file=name, what="sha256", expected=stated.sha256, received=found)


def _sums(folder: Folder, known: set[str]) -> Iterator[Mismatch]:
    path = folder.path / checksums.FILE
    if plain_size(path) is None:
        return
    lines = checksums.parse(plain_text(path), str(path))
    for name in sorted(known - set(checksums.UNSUMMED) - lines.keys()):
        yield Mismatch(file=checksums.FILE, what=f"line of {name}", expected="is there", received="is not there")
    for name, digest in lines.items():
        size = plain_size(folder.path / name) if name in known else None
        if size is None:
            yield Mismatch(file=name, what="file in SHA256SUMS", expected="is there", received="is not there")
        elif size > MOST_BYTES and (name not in folder.stated or size != folder.stated[name].bytes):
            what, most = "size in SHA256SUMS", f"at most {MOST_BYTES} bytes"  # hashing a terabyte would take hours
            yield Mismatch(file=name, what=what, expected=most, received=f"{size} bytes")
        elif (found := file_sha256(folder.path / name)) != digest:
            yield Mismatch(file=name, what="sha256 in SHA256SUMS", expected=digest, received=found)
