"""One file, one class: the file's name is its key, and dropping a file into the package registers it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cached_property
from typing import Any, Generic, TypeVar

from .errors import RecipeError, no_such
from .hp import check_names

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of a package's files, for each file the one that is not abstract and derives from `base`."""

    def __init__(self, package: str, base: type[T], what: str) -> None:
        self.package, self.base, self.what = package, base, what

    @cached_property
    def _classes(self) -> dict[str, type[T]]:
        files = pkgutil.iter_modules(importlib.import_module(self.package).__path__)
        return {file.name: self._only_class(file.name) for file in files if not file.name.startswith("_")}

    def _only_class(self, key: str) -> type[T]:
        module = importlib.import_module(f"{self.package}.{key}")
        found = [
            cls
            for _, cls in inspect.getmembers(module, inspect.isclass)
            if issubclass(cls, self.base) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
        ]
        if len(found) != 1:
            raise ImportError(f"{module.__name__} must define exactly one {self.what}; it defines {len(found)}.")
        return found[0]

    def classes(self) -> dict[str, type[T]]:
        """Return every class by key, in alphabetical order."""
        return self._classes

    def find(self, key: str) -> type[T]:
        """Return the class of a key; raises RecipeError with the nearest known key."""
        if key not in self._classes:
            raise RecipeError(no_such(self.what, key, self._classes))
        return self._classes[key]

    def build(self, key: str, **parameters: Any) -> T:
        """Return an instance with the given parameters; the others keep their declared defaults."""
        cls = self.find(key)
        check_names(parameters, cls)
        return cls(**parameters)


def key_of(thing: object) -> str:
    """Return the key of a registered class or of an instance of one: the name of its file."""
    cls = thing if isinstance(thing, type) else type(thing)
    return cls.__module__.rsplit(".", 1)[-1]
