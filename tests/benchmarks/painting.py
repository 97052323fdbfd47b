"""Time from starting the app as the README says to the first figure in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from ..chromium import CHROMIUM, FLAGS

ROOT = Path(__file__).resolve().parents[2]


def first_paint() -> list[dict[str, object]]:
    """Start `app.py` in a new process and wait for its address and for the first drawn figure."""
    from playwright.sync_api import sync_playwright

    start = time.perf_counter()
    env = {**os.environ, "GRADIO_SERVER_PORT": "7999", "PYTHONUNBUFFERED": "1"}
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = _address(app)
        served = time.perf_counter() - start
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            opened = time.perf_counter()
            page.goto(address)
            page.wait_for_selector(".main-svg", timeout=60_000)
            painted = time.perf_counter() - opened
            browser.close()
    finally:
        app.terminate()
        app.wait(timeout=20)
    return [{"start to address s": served, "page open to first figure s": painted}]


def _address(app: subprocess.Popen) -> str:
    assert app.stdout is not None
    for line in app.stdout:
        found = re.search(r"http://(127\.0\.0\.1|localhost|0\.0\.0\.0):\d+", line)
        if found:
            return found[0].replace("0.0.0.0", "127.0.0.1")
    raise RuntimeError("app.py ended without printing its address")
