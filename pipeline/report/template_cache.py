"""Remembers the page's template as Python's byte code: compiling it takes 0.2 s, a third of a run that makes nothing.

Byte code is executed, so it is kept where this user alone can write: not in the store, which a CI may restore from
elsewhere, but in the folder that jinja2 makes for that and examines.
"""

import contextlib
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

_DIGEST = 32  # bytes of a sha256, which stands before the byte code: damaged byte code would crash Python


class TemplateCache(jinja2.BytecodeCache):
    """A file for each template and environment. What is damaged, or can't be written, costs time and nothing else."""

    def __init__(self, environment: bytes) -> None:
        """environment: what identifies the options that a template is compiled with."""
        maker = f"{sys.implementation.cache_tag} {jinja2.__version__}".encode()
        self.name = f"edgepipe-%s-{sha256(maker + environment).hexdigest()[:16]}"
        self.folder: Path | None = None
        with contextlib.suppress(OSError, RuntimeError):  # there is no folder that only this user can write to
            self.folder = Path(jinja2.FileSystemBytecodeCache().directory)

    def load_bytecode(self, bucket: Bucket) -> None:
        if self.folder is None:
            return
        with contextlib.suppress(OSError):
            content = (self.folder / (self.name % bucket.key)).read_bytes()
            if sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
                bucket.bytecode_from_string(content[_DIGEST:])  # which looks whether the template is still the same

    def dump_bytecode(self, bucket: Bucket) -> None:
        if self.folder is None:
            return
        code = bucket.bytecode_to_string()
        with contextlib.suppress(OSError):
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix="edgepipe-", delete=False) as file:
                file.write(sha256(code).digest() + code)
            Path(file.name).replace(self.folder / (self.name % bucket.key))
