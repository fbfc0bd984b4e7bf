"""Killed before and after every call of sink and store, the next run completes: nothing lost, nothing doubled.

Each child is a real process that ends by `os._exit`; the points are counted, not listed, so none can be forgotten.
Every third of them is tried, on PostgreSQL every seventh (of odd steps one dies before a call and the next after one),
and all where TSI_CRASH=all, as in `make fire-crash`.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from crash_child import DIED, Scene, child, run_scene

from store.handle import open_store
from store.upgrade import upgrade
from tsi_fetch.words import Known, Ref

# later Pythons warn of forking where threads run; the children here only run the job, and end
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"
NIGHT = (("99001", 1772438400000, 3), ("1998001001", 1772438401000, 2))  # 2 March 2026, in the morning

_processes = multiprocessing.get_context("fork")  # no thread of ours runs here, and nothing is imported twice


def die(scene: Scene, point: int) -> int | None:
    process = _processes.Process(target=child, args=(scene, point))
    process.start()
    process.join(60)
    return process.exitcode


def held(folder: Path) -> dict[str, bytes]:
    """The resources in a folder; a leftover of a killed write is not one."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("*/[!.]*.json"))}


def remembered(scene: Scene) -> dict[Ref, tuple[bytes, str | None, str]]:
    with open_store(scene.store) as stored:
        store = stored.reader("cima", "sink")
        refs = [Ref(p.parent.name, p.stem) for p in scene.folder.glob("*/[!.]*.json")]
        known: dict[Ref, Known] = dict(store.known(refs))
        assert not store.pending()
        assert not store.oldest_quarantine()
        assert store.open_list("registroCambios") is None
        assert not store.position("registroCambios").checkpoint
    return {ref: (k.digest, k.version, k.state.value) for ref, k in known.items()}


class World:
    """A scene that can be set back to how it was before the run under trial."""

    def __init__(self, scene: Scene, keep: Callable[[], object], back: Callable[[], object]) -> None:
        self.scene, self._keep, self._back = scene, keep, back
        self._copy = scene.folder.with_name("kept")

    def keep(self) -> None:
        self._keep()
        if self.scene.folder.exists():
            shutil.copytree(self.scene.folder, self._copy)

    def back(self) -> None:
        self._back()
        shutil.rmtree(self.scene.folder, ignore_errors=True)
        if self._copy.exists():
            shutil.copytree(self._copy, self.scene.folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "sqlite":
        file, kept = tmp_path / "store.db", tmp_path / "kept.db"

        def keep() -> None:
            if file.exists():
                shutil.copy(file, kept)

        def back() -> None:
            for path in tmp_path.glob("store.db*"):
                path.unlink()
            if kept.exists():
                shutil.copy(kept, file)

        yield World(Scene(BODIES, f"sqlite:///{file}", tmp_path / "out"), keep, back)
        return
    recreate = request.getfixturevalue("recreate")
    url = recreate("crash", None)
    upgrade(url)
    scene = Scene(BODIES, url, tmp_path / "out")
    yield World(scene, lambda: recreate("kept", "crash"), lambda: recreate("crash", "kept"))


def trial(world: World, scene: Scene, *, first: bool) -> int:
    """Die at every point of a run of `scene`; rerun; what is held and remembered is what an undisturbed run leaves.
    How many points those were."""
    world.keep()
    report, points = run_scene(scene)
    assert report.exit_code == 0
    files, known = held(scene.folder), remembered(scene)
    assert len(points) > (60 if first else 40)
    every = 7 if world.scene.store.startswith("postgresql") else 3
    tried = range(1, len(points) + 1, 1 if os.environ.get("TSI_CRASH") == "all" else every)
    for point in tried:
        world.back()
        assert die(scene, point) == DIED, points[point - 1]
        again, _ = run_scene(scene)
        assert again.exit_code == 0, (points[point - 1], again.reasons, again.quarantined)
        assert held(scene.folder) == files, points[point - 1]
        assert remembered(scene) == known, points[point - 1]
    before = {p: p.stat().st_mtime_ns for p in scene.folder.rglob("*")}
    assert run_scene(scene)[0].counts == {}, "and the run after that has nothing to do"
    assert {p: p.stat().st_mtime_ns for p in scene.folder.rglob("*")} == before
    return len(tried)


def test_a_first_load_killed_at_any_point_is_completed(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    record_property("points", trial(world, world.scene, first=True))


def test_a_night_with_a_change_and_a_withdrawal_killed_at_any_point_is_completed(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    assert run_scene(world.scene)[0].exit_code == 0
    scene = replace(world.scene, feed=NIGHT, gone=("1998001001",), renamed=("99001",))
    record_property("points", trial(world, scene, first=False))
