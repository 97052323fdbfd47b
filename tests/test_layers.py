"""Who may import whom, read from the sources."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@cache
def parsed(file: Path) -> ast.Module:
    """Return the syntax tree of a file.

    No garbage is collected meanwhile: a finaliser that warns has its own traceback parsed, and Python 3.11 then
    miscounts how deep it is.
    """
    gc.disable()
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def imported(file: Path) -> set[str]:
    """Return the top-level packages a file imports; relative imports resolve to the file's own package."""
    found: set[str] = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(
                node.module.split(".")[0]
                if node.level == 0 and node.module
                else file.relative_to(ROOT).parts[0]
            )
    return found


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", sources("merge_engine"), ids=lambda f: str(f.relative_to(ROOT)))
def test_engine_knows_no_front_end(file):
    assert not imported(file) & {"gradio", "plotly", "viz", "app"}


@pytest.mark.parametrize("file", sources("viz/panels"), ids=lambda f: str(f.relative_to(ROOT)))
def test_panels_are_pure(file):
    assert not imported(file) & {"gradio", "torch", "app"}


@pytest.mark.parametrize("file", sources("viz"), ids=lambda f: str(f.relative_to(ROOT)))
def test_only_the_page_imports_gradio(file):
    on_page = (ROOT / "viz" / "page") in file.parents
    assert on_page or "gradio" not in imported(file)


@pytest.mark.parametrize("file", sources("merge_engine"), ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_unpickles(file):
    text = file.read_text(encoding="utf-8")
    assert "torch.load" not in text
    assert "pickle" not in imported(file)


@pytest.mark.parametrize(
    "file", sources("merge_engine") + sources("viz"), ids=lambda f: str(f.relative_to(ROOT))
)
def test_heavy_packages_load_late(file):
    tree = parsed(file)
    at_top = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    assert not at_top & {"transformers", "umap", "kaleido"}


def test_top_level_is_what_the_user_fixed():
    allowed = {
        "README.md", "pyproject.toml", "LICENSE", "CHANGELOG.md", "requirements.txt", "app.py",
        "merge_engine", "viz", "assets", "tests",
    }  # fmt: skip
    visible = {
        p.name
        for p in ROOT.iterdir()
        if not p.name.startswith((".", "__")) and not p.name.endswith(".egg-info")
    }
    assert visible <= allowed
