"""What a host reads must agree with pyproject.toml and with the commands of the README."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def front_matter() -> dict[str, str]:
    """Return the Space's settings: the scalar lines between the first two rules of the README."""
    block = README.split("---")[1]
    return {
        k.strip(): v.strip().strip('"')
        for k, v in (line.split(":", 1) for line in block.strip().splitlines())
    }


def test_requirements_are_generated_from_pyproject():
    printed = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "requirements.py")], capture_output=True, text=True, check=True
    )
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8") == printed.stdout


def test_the_space_installs_what_pyproject_allows():
    space, declared = front_matter(), PYPROJECT["tool"]["mergescope"]["space"]
    assert space["sdk_version"] == declared["sdk_version"]
    assert space["python_version"] == declared["python_version"]
    gradio = next(need for need in PYPROJECT["project"]["dependencies"] if need.startswith("gradio"))
    low, high = re.fullmatch(r"gradio>=([\d.]+),<(\d+)", gradio).groups()
    version = tuple(int(part) for part in space["sdk_version"].split("."))
    assert tuple(int(part) for part in low.split(".")) <= version < (int(high),)
    assert (ROOT / space["app_file"]).is_file()
    assert space["license"] == PYPROJECT["project"]["license"].lower()


def test_both_commands_are_on_the_first_screen():
    first_screen = README.split("## ")[0].split("---", 2)[2]
    commands = re.findall(r"```bash\n(.*?)\n```", first_screen, re.S)
    assert len(commands) == 2
    assert commands[0].endswith("python app.py")
    assert commands[1].endswith("python -m pytest")


def test_ci_calls_the_second_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in script
    assert "<!-- test command -->" in README


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
