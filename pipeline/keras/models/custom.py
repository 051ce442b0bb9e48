"""The user's own modules, whose classes a model file needs: where they are, what is in them, and their import."""

import ast
import contextlib
import hashlib
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.core.errors import Fault, InputError
from pipeline.core.settings import MODULE, Settings

REGISTER = "put `@tf_keras.utils.register_keras_serializable()` above the class"


class Custom(Settings):
    """Python modules to import before the model is loaded, so that the classes that they register are known."""

    modules: Annotated[tuple[Annotated[str, Field(pattern=MODULE)], ...], Field(strict=False)]
    """Names of modules, such as `my_package.layers`."""
    path: Annotated[Path, Field(strict=False)]
    """Folder in which the modules are looked for, before the installed packages."""

    def digest(self) -> str:
        """Return the sha256 of the modules and of everything of the user's that they import.

        That is what is in `path` or in the same package. Raises InputError if a module is not found or is not Python.
        """
        total = hashlib.sha256()
        for name, file in sorted(self._closure().items()):
            total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
        return total.hexdigest()

    def load(self) -> None:
        """Import the modules into this process. Raises InputError with the line at which a module fails.

        `path` then is the first place where this process looks for modules, as for a script in that folder.
        """
        folder = str(self.path.resolve())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        for name in self.modules:
            try:
                import_module(name)
            except Exception as error:  # whatever a user's module raises
                raise self._failed(name, error) from error

    def _failed(self, name: str, error: Exception) -> InputError:
        files = {str(file.resolve()) for file in self._closure().values()}
        lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        at = next((f"{file}:{line}" for file, line in reversed(lines) if file in files), "")
        received = f"{type(error).__name__}: {error}"
        do = "install what it needs, or mend it" if isinstance(error, ImportError) else "mend it"
        return InputError(Fault(f"{name} can't be imported", where=at, received=received, do=do))

    def _closure(self) -> dict[str, Path]:
        """Module name -> its file, for the modules, the packages that they are in, and what they import."""
        found: dict[str, Path] = {}
        for name in self.modules:
            if self._file(name) is None:
                raise self._missing(name)
        packages = {name.partition(".")[0] for name in self.modules}
        todo = [part for name in self.modules for part in _with_packages(name)]
        while todo:
            name = todo.pop()
            file = self._file(name, name.partition(".")[0] in packages) if name not in found else None
            if file is not None:
                found[name] = file
                todo += (part for each in _imported(_parsed(name, file), name, file) for part in _with_packages(each))
        return found

    def _file(self, name: str, installed: bool = True) -> Path | None:
        """The source file of a module, found without importing anything; None if there is none.

        installed: whether to look among the installed packages too
        """
        inner = name.replace(".", "/")
        roots = [self.path, *(_installed(name.partition(".")[0]) if installed else ())]
        ways = (root / way for root in roots for way in (f"{inner}/__init__.py", f"{inner}.py"))
        return next((way for way in ways if way.is_file()), None)

    def _missing(self, name: str) -> InputError:
        rule, received = f"there is no module {name}", f"neither in {self.path} nor among the installed packages"
        do = f"put {name.replace('.', '/')}.py beside the config, or install its package"
        return InputError(Fault(rule, received=received, do=do))


def _installed(package: str) -> Iterator[Path]:
    """Yield the folders in which the files of an installed package are found by their name."""
    with contextlib.suppress(ImportError, ValueError):  # ValueError: a module that was made by hand
        spec = find_spec(package)
        if spec and spec.submodule_search_locations:
            yield from (Path(place).parent for place in spec.submodule_search_locations)
        elif spec and spec.origin:
            yield Path(spec.origin).parent


def _parsed(name: str, file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        where, do = f"{file}:{error.lineno}", "mend the module"
        raise InputError(Fault(f"{name} is no valid Python", where=where, received=error.msg, do=do)) from None
    except (ValueError, OSError) as error:
        raise InputError(Fault(f"{name} can't be read", where=str(file), received=str(error))) from None


def _with_packages(name: str) -> Iterator[str]:
    """Yield a module and the packages that it is in: importing it runs these first."""
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _imported(tree: ast.Module, name: str, file: Path) -> Iterator[str]:
    """Yield the names of all that a module may import, relative imports resolved; names in modules are among them."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
