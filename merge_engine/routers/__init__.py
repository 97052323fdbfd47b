"""One file, one router: the file's name is its key."""

from __future__ import annotations

from ..registry import Registry, key_of
from ._features import TOKENS, Features
from ._router import Router
from ._support import Fitted, SupportRouter

__all__ = ["TOKENS", "Features", "Fitted", "Router", "SupportRouter", "build", "key_of", "registry", "router_class"]

_ROUTERS = Registry(__name__, Router, "router")
registry, router_class, build = _ROUTERS.classes, _ROUTERS.find, _ROUTERS.build
