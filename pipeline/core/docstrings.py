"""The docstring below each setting of a class: what the JSON Schema and the reference say of the setting.

Python keeps no docstrings of attributes, so they are read from the source code when they are asked for. pydantic's own
`use_attribute_docstrings` reads the source whenever a class is made, which took a fifth of a run that finds all in the
store.
"""

import ast
import inspect
from functools import cache
from itertools import pairwise
from textwrap import dedent

from pydantic import BaseModel


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Field -> its docstring, in the class that declares the field last; a field without one is left out."""
    declared = {name: base for base in reversed(model.__mro__) for name in inspect.get_annotations(base)}
    found = {name: _below(declared[name]).get(name) for name in model.model_fields}
    return {name: text for name, text in found.items() if text}


@cache
def _below(declaring: type) -> dict[str, str]:
    """The docstrings of the attributes that a class itself declares; none where its source is not there."""
    try:
        source = inspect.getsource(declaring)
    except (OSError, TypeError):
        return {}
    (tree,) = ast.parse(dedent(source)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        attribute.target.id: inspect.cleandoc(below.value.value)
        for attribute, below in pairwise(tree.body)
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }
