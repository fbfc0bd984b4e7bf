"""Headless Chromium: what a reader's browser makes of a page, and a picture of it.

    python dev/chromium.py      installs Debian's where we may (root with apt-get); else says how, and ends with 69

Playwright's own browsers come from a server of its own, Debian's with the machine's packages.  Nothing here goes to the
network: names resolve to nothing, and pages are files.  Only the standard library is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW = "no Chromium on this machine: `apt-get install chromium` as root, or name one with TSI_CHROMIUM"
PATIENCE = 180.0  # seconds; 4 where nobody else wants the machine

_QUIET = (
    "--headless",
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it 64 MB
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class NotAvailable(Exception):
    """There is no Chromium here, or it does not do; the message says what is missing."""


def chromium() -> str:
    """The program; NotAvailable where there is none.  TSI_CHROMIUM names another one."""
    named = os.environ.get("TSI_CHROMIUM")
    found = next(filter(None, map(shutil.which, (named,) if named else NAMES)), None)
    if not found:
        raise NotAvailable(HOW)
    return found


def look(page: Path, picture: Path, *, width: int = 900, height: int = 2400) -> str:
    """Open a file as a page; its DOM once it is loaded, and a PNG of so many pixels at `picture`."""
    with tempfile.TemporaryDirectory(prefix="tsi-fetch-chromium-", ignore_cleanup_errors=True) as profile:
        command = [chromium(), *_QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        command += [f"--screenshot={picture}", "--dump-dom", page.resolve().as_uri()]
        try:
            done = subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as e:
            raise NotAvailable(f"Chromium did not answer within {PATIENCE:.0f} s") from e
    if done.returncode or not picture.exists():
        raise NotAvailable(f"Chromium ended with {done.returncode}: {done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout.decode()


def inked(png: bytes) -> int:
    """Rows of a picture that are not of one colour and differ from the row above, as its PNG tells without decoding.

    Rows are stored as differences to their neighbours (PNG, chapter 9): one that has none is nought beyond its first
    pixel.
    """
    width, depth = int.from_bytes(png[16:20], "big"), png[24]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[png[25]]
    pixel, row = max(1, channels * depth // 8), 1 + (width * channels * depth + 7) // 8
    pixels = zlib.decompress(b"".join(_chunks(png)))
    return sum(any(pixels[at + 1 + pixel : at + row]) for at in range(0, len(pixels), row))


def _chunks(png: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            yield png[at + 8 : at + 8 + size]
        at += 12 + size


def install() -> int:
    """Install Debian's Chromium where there is none; 69 with the reason where that cannot be."""
    try:
        print(chromium())
        return 0
    except NotAvailable as e:
        if os.geteuid() or not shutil.which("apt-get"):
            print(e, file=sys.stderr)
            return 69
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    get = ("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0")
    for command in ((*get, "update"), (*get, "install", "-y", "--no-install-recommends", "chromium")):
        done = subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
        if done.returncode:
            print(f"{' '.join(command)}: {done.returncode}. {HOW}", file=sys.stderr)
            return 69
    print(chromium())
    return 0


if __name__ == "__main__":
    sys.exit(install())
