"""One file, one router: the file's name is its key, and dropping a file in registers it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from .. import hp as declarations
from ..errors import RecipeError, no_such
from ._blend import Blend
from ._features import Features
from ._router import Router
from ._support import Fitted, SupportRouter

__all__ = ["Blend", "Features", "Fitted", "Router", "SupportRouter", "build", "key_of", "registry", "router_class"]


@cache
def registry() -> dict[str, type[Router]]:
    """Return every router class by key, in alphabetical order."""
    return {m.name: _only_router(m.name) for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}


def _only_router(key: str) -> type[Router]:
    module = importlib.import_module(f"{__name__}.{key}")
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Router) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
    ]
    if len(found) != 1:
        raise ImportError(f"routers/{key}.py must define exactly one router; it defines {len(found)}.")
    return found[0]


def router_class(key: str) -> type[Router]:
    """Return the class of a router; raises RecipeError with the nearest known key."""
    known = registry()
    if key not in known:
        raise RecipeError(no_such("router", key, known))
    return known[key]


def build(key: str, **parameters: Any) -> Router:
    """Return a router with the given parameters; the others keep their defaults."""
    cls = router_class(key)
    declarations.check_names(parameters, cls)
    return cls(**parameters)


def key_of(router: Router | type[Router]) -> str:
    """Return the key of a router: the name of its file."""
    cls = router if isinstance(router, type) else type(router)
    return cls.__module__.rsplit(".", 1)[-1]
