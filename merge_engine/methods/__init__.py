"""One file, one method: the file's name is the method's key, and dropping a file in registers it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from .. import hp as declarations
from ..contract import MergeMethod
from ..errors import RecipeError, no_such


@cache
def registry() -> dict[str, type[MergeMethod]]:
    """Return every method class by key, post-steps included, in alphabetical order."""
    return {m.name: _only_method(m.name) for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}


def _only_method(key: str) -> type[MergeMethod]:
    module = importlib.import_module(f"{__name__}.{key}")
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, MergeMethod) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
    ]
    if len(found) != 1:
        raise ImportError(f"methods/{key}.py must define exactly one merge method; it defines {len(found)}.")
    return found[0]


def method_class(key: str) -> type[MergeMethod]:
    """Return the class of a method; raises RecipeError with the nearest known key."""
    known = registry()
    if key not in known:
        raise RecipeError(no_such("merge method", key, known))
    return known[key]


def static_keys() -> tuple[str, ...]:
    """Return the keys of the methods that give one model from the weights alone."""
    return tuple(key for key, cls in registry().items() if cls.kind == "static" and not cls.needs)


def build(key: str, **parameters: Any) -> MergeMethod:
    """Return a method with the given hyper-parameters; the others keep their published defaults."""
    cls = method_class(key)
    declarations.check_names(parameters, cls)
    return cls(**parameters)


def key_of(method: MergeMethod | type[MergeMethod]) -> str:
    """Return the key of a method: the name of its file."""
    cls = method if isinstance(method, type) else type(method)
    return cls.__module__.rsplit(".", 1)[-1]
