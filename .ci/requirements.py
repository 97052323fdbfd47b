"""Print the requirements.txt of a Hugging Face Space: `python .ci/requirements.py > requirements.txt`."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def requirements() -> str:
    """Return the file's text; Gradio itself comes from the Space's `sdk_version`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [need for need in project["dependencies"] if not need.startswith("gradio")]
    head = "# generated from pyproject.toml by .ci/requirements.py; Gradio comes from the Space's sdk_version"
    return "\n".join([head, "--extra-index-url https://download.pytorch.org/whl/cpu", *lines]) + "\n"


if __name__ == "__main__":
    print(requirements(), end="")
