"""A store of finished stages: each key names one immutable directory.

Layout below the root::

    v1/entries/<key>/           files of a finished stage, with manifest.json
    v1/partial/<key>/           checkpoints from which an interrupted stage resumes
    v1/building/<key>-<random>/ work directory of one process, renamed to entries/ when complete
    v1/decoded/                 examples that data sources decoded; see `pipeline.data.decoded`
    v1/locks/<key>.lock         held while an entry is made, and while leftovers of a killed process are removed

Readers check every sha256 in the manifest and treat a damaged entry as missing. All stored paths are relative, so a
root can be saved and restored elsewhere, for example by a CI cache.
"""

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import Fault, StoreError
from pipeline.core.hashing import file_sha256

FORMAT = 1
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """A finished entry of the store.

    key       sha256 of the identity; see `key_of`
    path      directory of the entry
    stage     kind of the stage that made it, such as "train"
    identity  the JSON value that the key is the digest of; used by ``plan --explain``
    seconds   wall time taken to make it
    created   creation time, in seconds since the Unix epoch
    files     relative path -> sha256
    bytes     total size of the files
    """

    key: str
    path: Path
    stage: str
    identity: Mapping[str, Any]
    seconds: float
    created: float
    files: Mapping[str, str]
    bytes: int


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the sha256 of an identity as JSON with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Store:
    """The store below one root directory. Methods raise StoreError if the file system refuses an operation."""

    def __init__(self, root: Path, log: Callable[[str], None] = lambda line: None) -> None:
        self.root = root
        self.log = log
        self._home = root / f"v{FORMAT}"

    def get(self, key: str) -> Entry | None:
        """Return the entry for a key, or None if there is none or any of its files is missing or damaged."""
        with self._guard("read"):
            entry = self._load(self._home / "entries" / key)
            if entry is None:
                return None
            for name, digest in entry.files.items():
                file = entry.path / name
                if not file.is_file() or file_sha256(file) != digest:
                    self.log(f"store: {key[:12]}/{name} is damaged; it will be made again")
                    return None
            return entry

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, newest first, without checking their files."""
        with self._guard("read"):
            folder = self._home / "entries"
            loaded = [self._load(path) for path in folder.iterdir()] if folder.is_dir() else []
        yield from sorted((e for e in loaded if e), key=lambda e: -e.created)

    def put(self, key: str, stage: str, identity: Mapping[str, Any], fill: Callable[[Path], None]) -> Entry:
        """Call `fill` with an empty work directory, then rename that directory to the entry of the key."""
        with self._guard("written"):
            building = self._folder("building")
            work = building / f"{key}-{uuid.uuid4().hex}"
            work.mkdir()
        try:
            started = time.monotonic()
            fill(work)
            with self._guard("written"):
                self._seal(work, key, stage, identity, time.monotonic() - started)
                return self._publish(work, key)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def make(
        self,
        stage: str,
        identity: Mapping[str, Any],
        fill: Callable[[Path], None],
        waiting: Callable[[], None] = lambda: None,
    ) -> tuple[Entry, bool]:
        """Return the entry for an identity, and whether it already existed.

        If it does not exist, `fill` makes it while the lock of the key is held. `waiting` is called once if another
        process holds the lock.
        """
        key = key_of(identity)
        if entry := self.get(key):
            return entry, True
        with self.lock(key, waiting):
            if entry := self.get(key):  # made while this process waited
                return entry, True
            entry = self.put(key, stage, identity, fill)
            self.finish(key)
        return entry, False

    def partial(self, key: str) -> Path:
        """Return the checkpoint directory of a key, created if necessary; an interrupted stage resumes from it."""
        with self._guard("written"):
            return self._folder("partial", key)

    def finish(self, key: str) -> None:
        """Remove the checkpoint directory of a key whose entry is complete."""
        shutil.rmtree(self._home / "partial" / key, ignore_errors=True)

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of a key; `waiting` is called once if another process holds it.

        The operating system releases the lock when its holder dies. Work directories that a killed holder left behind
        are removed.
        """
        from filelock import FileLock, Timeout

        with self._guard("locked"):
            lock = FileLock(self._folder("locks") / f"{key}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                waiting()
                lock.acquire()
            for stale in (self._home / "building").glob(f"{key}-*"):
                shutil.rmtree(stale, ignore_errors=True)
        try:
            yield
        finally:
            lock.release()

    def clear(self, older_than: float = 0.0) -> tuple[int, int]:
        """Remove entries made at least `older_than` seconds ago and return their number and total bytes.

        0 removes all entries, and also checkpoints, work directories and decoded data.
        """
        old = [e for e in self.entries() if time.time() - e.created >= older_than]
        with self._guard("cleared"):
            for entry in old:
                self._discard(entry.path)
            if older_than == 0:
                for name in ("partial", "building", "decoded"):
                    shutil.rmtree(self._home / name, ignore_errors=True)
        return len(old), sum(e.bytes for e in old)

    def _load(self, path: Path) -> Entry | None:
        try:
            manifest = json.loads((path / _MANIFEST).read_bytes())
            files = {name: facts["sha256"] for name, facts in manifest["files"].items()}
            size = sum(facts["bytes"] for facts in manifest["files"].values())
            if key_of(manifest["identity"]) != path.name or any(not _inside(name) for name in files):
                raise ValueError("the manifest is not this key's")
            return Entry(
                path.name, path, manifest["stage"], manifest["identity"], float(manifest["seconds"]),
                float(manifest["created"]), files, size,
            )  # fmt: skip
        except (FileNotFoundError, NotADirectoryError):  # no such entry, or a stray file
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            self.log(f"store: the manifest of {path.name[:12]} is damaged; it will be made again")
            return None

    def _seal(self, work: Path, key: str, stage: str, identity: Mapping[str, Any], seconds: float) -> None:
        files = sorted(path for path in work.rglob("*") if path.is_file())
        facts = {
            path.relative_to(work).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in files
        }
        manifest = {
            "format": FORMAT,
            "key": key,
            "stage": stage,
            "identity": identity,
            "seconds": round(seconds, 3),
            "created": time.time(),
            "files": facts,
        }
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in (*files, work / _MANIFEST):
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def _publish(self, work: Path, key: str) -> Entry:
        target = self._folder("entries") / key
        try:
            work.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            if self.get(key) is None:  # the existing entry is damaged
                self._discard(target)
                work.rename(target)
        entry = self._load(target)
        assert entry is not None
        return entry

    def _discard(self, path: Path) -> None:
        """Remove an entry, or a stray file in its place, by a rename first: no reader sees a partly removed entry."""
        aside = self._folder("building", f"discarded-{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another process has removed it already
            path.rename(aside / path.name)
        shutil.rmtree(aside, ignore_errors=True)

    def _folder(self, *parts: str) -> Path:
        folder = self._home.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _guard(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(store_fault(self.root, error, verb)) from None


def store_fault(root: Path, error: OSError, verb: str) -> Fault:
    """Return a fault for an OSError below the store's root, with what the user can do. verb: "read", "written", ..."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        do = "free some space, run `edgepipe cache clear`, or choose another store with --store DIR"
    else:
        do = "choose a directory that you may write to with --store DIR or the variable EDGEPIPE_STORE"
    return Fault(f"the store can't be {verb}", where=str(root), received=error.strerror or str(error), do=do)


def _inside(name: str) -> bool:
    """Return whether a file name in a manifest stays inside its entry; a shared cache may hold hostile manifests."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
