"""Content-addressed store: a key names an immutable directory.

Layout below the root::

    v1/entries/<key>/           the files of a finished stage, with manifest.json
    v1/partial/<key>/           what an interrupted stage goes on from
    v1/building/<key>-<random>/ private to one process, renamed to entries/ when it is complete
    v1/locks/<key>.lock         saves making a thing twice, and guards the removal of what a killed process left

A reader checks every sha256 of the manifest and treats damage as a miss. All paths inside are relative, so a whole
root can be saved and restored elsewhere, by a CI cache for one.
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
    """A finished directory of the store.

    identity  what the key is the digest of, for people and for ``plan --explain``
    seconds   wall time of making it
    created   seconds since the epoch
    files     relative path -> sha256
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
    """sha256 of the identity as canonical JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Store:
    """The store below one root directory. Every method raises StoreError when the disk says no."""

    def __init__(self, root: Path, log: Callable[[str], None] = lambda line: None) -> None:
        self.root = root
        self.log = log
        self._home = root / f"v{FORMAT}"

    def get(self, key: str) -> Entry | None:
        """The entry of that key; None when there is none or when any file of it is damaged."""
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
        """All entries, unchecked, newest first."""
        with self._guard("read"):
            folder = self._home / "entries"
            loaded = [self._load(path) for path in folder.iterdir()] if folder.is_dir() else []
        yield from sorted((e for e in loaded if e), key=lambda e: -e.created)

    def put(self, key: str, stage: str, identity: Mapping[str, Any], fill: Callable[[Path], None]) -> Entry:
        """Let `fill` write into an empty private directory, then make that the entry of the key, in one rename."""
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
        """The entry of that identity, and whether it was there; else `fill` makes it, while the key's lock is held.

        `waiting` is called once when another process holds the lock.
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
        """The directory that an interrupted stage goes on from; made when it is not there."""
        with self._guard("written"):
            return self._folder("partial", key)

    def finish(self, key: str) -> None:
        """Drop what an interrupted stage left: its entry is complete."""
        shutil.rmtree(self._home / "partial" / key, ignore_errors=True)

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the key's lock; `waiting` is called once when another process holds it. Freed when a process dies.

        What a holder that was killed had begun is removed.
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
        """Remove entries made more than that many seconds ago (0: all, and what is unfinished); (count, bytes)."""
        old = [e for e in self.entries() if time.time() - e.created >= older_than]
        with self._guard("cleared"):
            for entry in old:
                self._discard(entry.path)
            if older_than == 0:
                for name in ("partial", "building"):
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
        except (FileNotFoundError, NotADirectoryError):  # a stray file is no entry
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
            if self.get(key) is None:  # a damaged entry stands in the way
                self._discard(target)
                work.rename(target)
        entry = self._load(target)
        assert entry is not None
        return entry

    def _discard(self, path: Path) -> None:
        """Remove an entry, or a stray file in its place, so that no reader ever sees half of it."""
        aside = self._folder("building", f"discarded-{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another process was faster
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
    """What a user can do about an error of the disk below the store's root."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        do = "free some space, run `edgepipe cache clear`, or choose another store with --store DIR"
    else:
        do = "choose a directory that you may write to with --store DIR or the variable EDGEPIPE_STORE"
    return Fault(
        f"the store can't be {verb}", where=str(error.filename or root), received=error.strerror or str(error), do=do
    )


def _inside(name: str) -> bool:
    """Whether a manifest's file name stays inside its entry: the store may come from a shared cache."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
