"""The class path of the server: compiled once per release by Maven, then kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

VERSIONS = {"R5": "7.6.0", "R4": "7.4.0"}
"""The HAPI versions that the platform deploys: R5 for product information, R4 for patient summaries."""

HERE = Path(__file__).parent


class NotAvailable(Exception):
    """The server cannot be had on this machine; the message says what is missing."""


def cache() -> Path:
    """Where built class paths live: `tsi-fetch/hapi` in the XDG cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsi-fetch" / "hapi"


def missing(*tools: str) -> str | None:
    """The first of these tools that is not installed, in words."""
    return next((f"{tool} is not installed" for tool in tools if not shutil.which(tool)), None)


def classpath(release: str) -> str:
    """Java's class path for the release, built if need be (the first time about 280 MB come from Maven Central).

    NotAvailable where Java, or what the build needs, is missing.
    """
    if reason := missing("java"):
        raise NotAvailable(reason)
    folder = cache() / f"{release}-{_fingerprint(VERSIONS[release])}"
    if not folder.exists():
        _build(folder, VERSIONS[release])
    return f"{folder / 'target' / 'classes'}{os.pathsep}{folder / 'lib' / '*'}"


def _fingerprint(version: str) -> str:
    h = hashlib.sha256(version.encode())
    for source in sorted([HERE / "pom.xml", *(HERE / "src").rglob("*.java")]):
        h.update(source.read_bytes())
    return h.hexdigest()[:12]


def _build(folder: Path, version: str) -> None:
    """Build beside `folder`, then rename: a build that was cut short, or a second one, is never taken for a whole."""
    if reason := missing("mvn"):
        raise NotAvailable(reason)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as made:
        work = Path(made) / "work"
        work.mkdir()
        shutil.copy(HERE / "pom.xml", work)
        shutil.copytree(HERE / "src", work / "src")
        goals = ["compile", "dependency:copy-dependencies", f"-Dhapi.version={version}", "-DoutputDirectory=lib"]
        built = subprocess.run(["mvn", "-q", "-B", *goals], cwd=work, capture_output=True, text=True, check=False)
        if built.returncode:
            raise NotAvailable(f"Maven could not build HAPI {version}:\n{(built.stdout + built.stderr)[-2000:]}")
        with suppress(OSError):  # another process has just put the same there
            work.rename(folder)
