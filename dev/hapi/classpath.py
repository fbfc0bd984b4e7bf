"""The class path of the server: compiled once per release by Maven, then kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

VERSIONS = {"R5": "7.6.0", "R4": "7.4.0"}
"""The HAPI versions that the platform deploys: R5 for product information, R4 for patient summaries."""

HERE = Path(__file__).parent


class NotAvailable(Exception):
    """The server cannot be had on this machine; the message says what is missing."""


def cache() -> Path:
    """Where built class paths live: `tsi-fetch/hapi` in the XDG cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsi-fetch" / "hapi"


def missing() -> str | None:
    """The tool that is not installed, if one is not."""
    return next((f"{tool} is not installed" for tool in ("java", "mvn") if not shutil.which(tool)), None)


def classpath(release: str) -> str:
    """Java's class path for the release, built if need be (the first time about 280 MB come from Maven Central)."""
    folder = cache() / f"{release}-{_fingerprint(VERSIONS[release])}"
    if not (folder / "ready").exists():
        _build(folder, VERSIONS[release])
    return f"{folder / 'target' / 'classes'}{os.pathsep}{folder / 'lib' / '*'}"


def _fingerprint(version: str) -> str:
    h = hashlib.sha256(version.encode())
    for source in sorted([HERE / "pom.xml", *(HERE / "src").rglob("*.java")]):
        h.update(source.read_bytes())
    return h.hexdigest()[:12]


def _build(folder: Path, version: str) -> None:
    if reason := missing():
        raise NotAvailable(reason)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / "pom.xml", folder)
    shutil.copytree(HERE / "src", folder / "src")
    libraries = f"-DoutputDirectory={folder / 'lib'}"
    goals = ["compile", "dependency:copy-dependencies", f"-Dhapi.version={version}", libraries]
    built = subprocess.run(["mvn", "-q", "-B", *goals], cwd=folder, capture_output=True, text=True, check=False)
    if built.returncode:
        raise NotAvailable(f"Maven could not build HAPI {version}:\n{(built.stdout + built.stderr)[-2000:]}")
    (folder / "ready").touch()
