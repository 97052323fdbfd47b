"""The browser of the tests, of the tour and of the benchmarks."""

from __future__ import annotations

import shutil

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the lightest first
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--js-flags=--expose-gc", "--enable-precise-memory-info",
    "--disable-features=LocalNetworkAccessChecks",  # a made-up page of the Hub may show the app of this machine
]  # fmt: skip
