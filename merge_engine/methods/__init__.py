"""One file, one merge method or post-step: the file's name is the method's key."""

from __future__ import annotations

from ..contract import MergeMethod
from ..registry import Registry, key_of

__all__ = ["build", "key_of", "method_class", "registry", "static_keys"]

_METHODS = Registry(__name__, MergeMethod, "merge method")
registry, method_class, build = _METHODS.classes, _METHODS.find, _METHODS.build


def static_keys() -> tuple[str, ...]:
    """Return the keys of the methods that give one model, from the weights alone or from support inputs too."""
    return tuple(key for key, cls in registry().items() if cls.kind == "static")
