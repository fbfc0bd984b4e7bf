"""The wheel has everything and nothing else, and starts from an empty folder that it may not write to, as any user."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"jobs", "sources", "sinks", "store", "tsi_fetch"}
UID = 65532
"""The image's."""


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel in it; `python` can be started by other users, too, where it says so."""

    wheel: Path
    bin: Path
    for_others: bool

    def start(
        self, *arguments: str, room: Path, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command from an empty, unwritable folder; as another user where this one is root."""
        room.mkdir(mode=0o555, exist_ok=True)
        user = {"user": UID, "group": UID, "extra_groups": []} if self.for_others and os.getuid() == 0 else {}
        clean = {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8"}
        return subprocess.run(
            [str(self.bin / "tsi-fetch"), *arguments],
            cwd=room,
            env={**clean, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=120,
            **user,  # type: ignore[call-overload]
        )


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="tsi-fetch-install-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheel(place: Path) -> Path:
    out = place / "dist"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, place: Path) -> Installed:
    """Dependencies come from the environment of these tests, so that nothing is asked over the network."""
    python, for_others = _python()
    home = place / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, home / "bin", for_others)


def _python() -> tuple[str, bool]:
    """An interpreter of this version that another user may start, else this one."""
    this = Path(sys.executable).resolve()
    version = f"python3.{sys.version_info.minor}"
    for path in (this, Path("/usr/local/bin") / version, Path("/usr/bin") / version):
        if os.getuid() == 0 and path.exists() and _starts(path):
            return str(path), True
    return str(this), False


def _starts(python: Path) -> bool:
    look = f"import sys, venv; sys.path.append({sysconfig.get_path('purelib')!r}); import pydantic_core"
    try:
        done = subprocess.run(
            [str(python), "-c", look], user=UID, group=UID, extra_groups=[], cwd="/", capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0


def test_the_wheel_has_our_packages_and_no_other(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    for name in (
        "jobs/jobs.yaml",
        "jobs/jobs.schema.json",
        "jobs/cli/run.py",
        "store/migrations/env.py",
        "sinks/fhir/server.py",
        "tsi_fetch/http/chain.py",
    ):
        assert name in names
    assert any(name.startswith("store/migrations/versions/r") for name in names)
    assert any(name.startswith("sources/cima/mapping/tables/") and name.endswith(".csv") for name in names)
    assert not [name for name in names if name.endswith((".pyc", ".db"))]


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", *sorted(PACKAGES)], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    there = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert there - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_no_other_distribution_owns_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"tsi-fetch"}, f"another distribution would overwrite {package}"


def test_it_starts_from_an_empty_unwritable_folder(installed: Installed, place: Path) -> None:
    done = installed.start("--version", room=place / "room")
    version = importlib.metadata.PathDistribution(
        next(installed.bin.parent.glob("lib/python*/site-packages/tsi_fetch-*.dist-info"))
    ).version
    assert (done.returncode, done.stdout) == (0, f"tsi-fetch {version}\n"), done.stderr
    done = installed.start("jobs", "--json", room=place / "room")
    assert done.returncode == 0, done.stderr
    assert "site-packages/jobs/jobs.yaml" in done.stdout


def test_its_migrations_work_and_leave_the_folder_alone(installed: Installed, place: Path) -> None:
    store = place / "store"
    store.mkdir()
    store.chmod(0o777)
    url = f"sqlite:///{store}/store.db"
    done = installed.start("db", "upgrade", "--store", url, room=place / "room")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("was made\n")
    done = installed.start("status", room=place / "room", environ={"TSI_FETCH_STORE": url})
    assert done.returncode == 0, done.stderr
    assert list((place / "room").iterdir()) == []


def test_a_store_in_an_unwritable_folder_is_a_setting_error(installed: Installed, place: Path) -> None:
    if os.getuid() == 0 and not installed.for_others:
        pytest.skip("root may write anywhere")
    done = installed.start("run", "cima", "--log", "text", room=place / "room")
    assert done.returncode == 78, done.stderr
    assert "what to do" in done.stderr


def test_it_replays_the_recording_that_ships_with_it(installed: Installed, place: Path) -> None:
    recording = next(installed.bin.parent.glob("lib/python*/site-packages/jobs/recordings/cima"), None)
    if recording is None:
        pytest.skip("no recording ships with this version")
    room = place / "temporary"
    room.mkdir()
    room.chmod(0o777)
    arguments = ("run", "cima", "--replay", str(recording), "--log", "text")
    done = installed.start(*arguments, room=place / "room", environ={"TMPDIR": str(room)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "49 created" in done.stdout
    assert list(room.glob("*/resources/*/*.json"))
