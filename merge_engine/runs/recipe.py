"""Recipes: what to merge and how, as names and numbers; the same in a file, in a link and in a result."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import tomllib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract import MergeMethod
from ..errors import RecipeError, no_such
from ..methods import build
from ..tensorwise import PostStep

Parameters = tuple[tuple[str, Any], ...]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,63}")
KEYS = ("suite", "experts", "method", "parameters", "post", "seed")
LINK_VERSION = "1"
LINK_LIMIT = 8_192
FILE_LIMIT = 65_536


@dataclass(frozen=True)
class Recipe:
    """A merge as names and numbers, resolved: every parameter that is not given has its published default.

    `parameters` is given as a mapping or as pairs and kept as pairs; `post` holds pairs of a post-step's key and
    its parameters. `suite` is empty when the models come from files. Raises RecipeError for anything unknown,
    out of range or malformed.
    """

    suite: str
    experts: tuple[str, ...]
    method: str
    parameters: Parameters | Mapping[str, Any] = ()
    post: tuple[tuple[str, Parameters | Mapping[str, Any]], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.suite:
            check_name("suite", self.suite)
        method = build(self.method, **_mapping(self.parameters, "parameters"))
        if isinstance(method, PostStep):
            raise RecipeError(f"'{self.method}' is a post-step; choose a merge method and give this one as `post`.")
        post = tuple(_post(key, given) for key, given in self.post)
        object.__setattr__(self, "experts", _experts(self.experts))
        object.__setattr__(self, "parameters", tuple(method.parameters().items()))
        object.__setattr__(self, "post", tuple((key, tuple(s.parameters().items())) for key, s in post))
        object.__setattr__(self, "seed", _seed(self.seed))

    def build(self) -> tuple[MergeMethod, tuple[PostStep, ...]]:
        """Return the method and its post-steps."""
        method = build(self.method, **dict(self.parameters))
        return method, tuple(_post(key, given)[1] for key, given in self.post)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON types."""
        return {
            "suite": self.suite,
            "experts": list(self.experts),
            "method": self.method,
            "parameters": _plain(self.parameters),
            "post": [{"method": key, "parameters": _plain(given)} for key, given in self.post],
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, given: Any) -> Recipe:
        """Return the recipe of a mapping as `to_dict` makes it; only `method` and `experts` must be there."""
        given = _shaped(_mapping(given, "a recipe"))
        for key in ("method", "experts"):
            if key not in given:
                raise RecipeError(f"The recipe has no '{key}'; add it.")
        post = tuple((step["method"], step["parameters"]) for step in given.get("post", []))
        return cls(**{"suite": "", **given, "experts": tuple(given["experts"]), "post": post})

    @property
    def digest(self) -> str:
        """Hash of the resolved recipe: equal exactly for equal recipes, 32 hexadecimal digits."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    def to_json(self) -> str:
        """Return the recipe as a JSON document."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def to_toml(self) -> str:
        """Return the recipe as a TOML document."""
        given = self.to_dict()
        lines = [f"{key} = {json.dumps(given[key])}" for key in ("suite", "experts", "method", "seed")]
        lines += ["", "[parameters]", *_toml_lines(given["parameters"])]
        for step in given["post"]:
            lines += ["", "[[post]]", f"method = {json.dumps(step['method'])}"]
            lines += ["[post.parameters]", *_toml_lines(step["parameters"])]
        return "\n".join(lines) + "\n"

    def to_link(self) -> str:
        """Return the recipe as a short word of letters, digits, '-' and '_' for a URL."""
        packed = zlib.compress(json.dumps(self.to_dict(), separators=(",", ":")).encode(), 9)
        return LINK_VERSION + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def from_link(cls, link: str) -> Recipe:
        """Return the recipe of a link made by `to_link`; raises RecipeError for anything else."""
        broken = RecipeError("This link does not hold a recipe; copy it again from the page that made it.")
        if len(link) > LINK_LIMIT or not link.startswith(LINK_VERSION):
            raise broken
        try:
            packed = base64.b64decode(link[1:] + "=" * (-len(link[1:]) % 4), altchars=b"-_", validate=True)
            given = json.loads(_unpacked(packed))
        except (binascii.Error, zlib.error, ValueError, RecursionError):
            raise broken from None
        return cls.from_dict(given)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe file, TOML by its suffix and JSON otherwise, as a mapping that may lack keys."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    if len(raw) > FILE_LIMIT:
        raise RecipeError(f"{path} is larger than {FILE_LIMIT} bytes; a recipe holds names and numbers only.")
    try:
        text = raw.decode("utf-8")
        given = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        raise RecipeError(f"The recipe {path} is not valid {kind}: {error}.") from None
    return _shaped(_mapping(given, f"the recipe {path}"))


def load_recipe(path: str | Path) -> Recipe:
    """Read a complete recipe file."""
    return Recipe.from_dict(read_recipe(path))


def _unpacked(packed: bytes) -> bytes:
    """Decompress at most FILE_LIMIT bytes; a cut or oversized stream is a ValueError."""
    stream = zlib.decompressobj()
    text = stream.decompress(packed, FILE_LIMIT)
    if not stream.eof:
        raise ValueError
    return text


def _shaped(given: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's keys with everything in its type; raises RecipeError for what has another, or is unknown."""
    for key in given:
        if key not in KEYS:
            raise RecipeError(no_such("key of a recipe", key, KEYS))
    readers = {"suite": _text, "method": _text, "parameters": _mapping, "experts": _sequence}
    shaped = {key: readers[key](value, key) if key in readers else value for key, value in given.items()}
    if "post" in shaped:
        shaped["post"] = [_post_entry(entry) for entry in _sequence(shaped["post"], "post")]
    return shaped


def _experts(given: Any) -> tuple[str, ...]:
    names = tuple(_sequence(given, "experts"))
    if not names:
        raise RecipeError("The recipe names no expert; name at least one.")
    for name in names:
        check_name("expert", name)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"Expert '{twice}' is named twice; name each once.")
    return names


def check_name(what: str, name: Any) -> None:
    """Raise RecipeError unless `name` can name a suite or an expert; nothing that could be a path passes."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RecipeError(
            f"{name!r} is not a name of {'an' if what[0] in 'aeiou' else 'a'} {what}; "
            "use up to 64 letters, digits and _ . + -, starting with a letter or digit."
        )


def _seed(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**63:
        raise RecipeError(f"seed must be a whole number of at least 0; got {given!r}.")
    return given


def _post_entry(entry: Any) -> dict[str, Any]:
    entry = {"method": entry} if isinstance(entry, str) else _mapping(entry, "a post-step")
    for key in entry:
        if key not in ("method", "parameters"):
            raise RecipeError(no_such("key of a post-step", key, ("method", "parameters")))
    if "method" not in entry:
        raise RecipeError("A post-step of the recipe has no 'method'; add its key.")
    return {
        "method": _text(entry["method"], "method"),
        "parameters": _mapping(entry.get("parameters", {}), "parameters"),
    }


def _post(key: str, given: Any) -> tuple[str, PostStep]:
    step = build(key, **_mapping(given, "parameters"))
    if not isinstance(step, PostStep):
        raise RecipeError(f"'{key}' is a merge method, not a post-step; give it as the method.")
    return key, step


def _mapping(given: Any, what: str) -> dict[str, Any]:
    pairs = isinstance(given, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given)
    if not (isinstance(given, Mapping) or pairs):
        raise RecipeError(f"{what} must be a table of names and values; got {_short(given)}.")
    found = dict(given)
    if not all(isinstance(key, str) for key in found):
        raise RecipeError(f"{what} must have text as keys.")
    return found


def _sequence(given: Any, what: str) -> Iterable[Any]:
    if not isinstance(given, list | tuple):
        raise RecipeError(f"{what} must be a list; got {_short(given)}.")
    return given


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise RecipeError(f"{what} must be text; got {_short(given)}.")
    return given


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(parameters: Parameters | Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in dict(parameters).items()}


def _toml_lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]
