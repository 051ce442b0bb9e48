"""Compute a digest of the code behind a part of the pipeline, so that its cache key changes when its code changes.

The digest covers the part's module and every module of this package that it imports, directly or indirectly. Imports
inside functions count; imports under `if TYPE_CHECKING:` do not. Modules are compared as syntax trees without
docstrings, so changes to comments, docstrings and layout have no effect. Nothing is imported or executed.
"""

import ast
import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pipeline

# Modules that can't change a result: formatting of errors and numbers, process start, storage. The table of metrics is
# here too, because a new row leaves the existing metrics as they are, and the words for what the converter refuses.
NEUTRAL = ("pipeline.core.", "pipeline.verify.scoring.metrics.", "pipeline.keras.conversion.refusal.")

_ROOT = Path(pipeline.__file__).parent
_PACKAGE = pipeline.__name__


@cache
def digest(*modules: str) -> str:
    """Return the sha256 of modules and their import closure.

    modules: dotted names of modules of this package, such as ``pipeline.stages.train``. Raises ValueError for a name
    that is not a module of this package.
    """
    total = hashlib.sha256()
    for name in sorted(closure(*modules)):
        total.update(f"{name}\0{_source(name).digest}\0".encode())
    _save()
    return total.hexdigest()


def closure(*modules: str) -> set[str]:
    """Return the modules and all modules of this package that they import, directly or indirectly, except NEUTRAL."""
    seen: set[str] = set()
    todo = [*modules]
    while todo:
        name = todo.pop()
        if name not in seen and not f"{name}.".startswith(NEUTRAL):
            seen.add(name)
            todo += _imports(name)
    return seen


@cache
def _file(module: str) -> Path | None:
    """Return the module's source file, or None if the name is not a module of this package (but a function, say)."""
    if module.split(".")[0] != _PACKAGE:
        return None
    inner = "/".join(module.split(".")[1:])
    return next((path for end in (".py", "/__init__.py") if (path := Path(f"{_ROOT}/{inner}{end}")).is_file()), None)


class _Parsed(NamedTuple):
    """The digest of a module's syntax tree, and its imports of this package as (module, imported names)."""

    digest: str
    imports: tuple[tuple[str, tuple[str, ...]], ...]


@cache
def _source(module: str) -> _Parsed:
    path = _file(module)
    if path is None:
        raise ValueError(f"{module} is no module of {_PACKAGE}")
    content = path.read_bytes()
    return _remembered(hashlib.sha256(content).hexdigest(), content)


def _read(content: bytes) -> _Parsed:
    tree = ast.parse(content)
    imports = tuple(each for each in _imported(tree) if each[0].split(".")[0] == _PACKAGE)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [statement for statement in node.body if not _is_docstring(statement)]
        elif isinstance(node, ast.Call):  # of pydantic's Field
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
    return _Parsed(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports)


def _is_docstring(statement: ast.stmt) -> bool:
    """Return whether a statement is a bare string: the docstring of a module, class, function or attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imported(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in _run(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(alias.name for alias in node.names)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all descendant nodes, except those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from _run(child)


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(name for imported, names in _source(module).imports for name in _modules(imported, names))


def _modules(module: str, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the modules of this package that ``from module import names`` imports."""
    if path := _file(module):
        inner = [f"{module}.{name}" for name in names] if path.name == "__init__.py" else []
        yield from (name for name in inner if _file(name))
        if not inner or not all(_file(name) for name in inner):  # some name is defined in the module itself
            yield module


# Parsing fifty modules takes 0.3 s, a fifth of a fully cached run, so the results are kept in the user's cache
# directory under the sha256 of each file's content. Entries can't become outdated, and the file can be deleted safely.


@cache
def _memory() -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        memory = json.loads(_memory_file().read_text(encoding="utf-8"))
        if isinstance(memory, dict) and len(memory) < 1000:
            return memory
    return {}


@cache
def _memory_file() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("edgepipe") / f"code-3-{sys.version_info[0]}.{sys.version_info[1]}.json"


def _remembered(key: str, content: bytes) -> _Parsed:
    memory = _memory()
    try:
        found, imports = memory[key]
        return _Parsed(str(found), tuple((str(name), tuple(map(str, names))) for name, names in imports))
    except (KeyError, ValueError, TypeError):
        source = _read(content)
        memory[key] = [source.digest, source.imports]
        _unsaved.append(key)
        return source


_unsaved: list[str] = []


def _save() -> None:
    """Write new results to the cache file by an atomic rename. Failure to write is ignored: it only costs time."""
    if not _unsaved:
        return
    _unsaved.clear()
    path = _memory_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as file:
            json.dump(_memory(), file)
        Path(file.name).replace(path)
