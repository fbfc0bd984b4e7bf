"""The recording that ships with the project is what its script makes, and it replays."""

from __future__ import annotations

from pathlib import Path

from fake_cima import rows_of

from dev.make_recording import NOTE, TARGET, make
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tsi_fetch.http.recording import Recording
from tsi_fetch.words import Position


def content(folder: Path) -> dict[str, bytes]:
    """All files of a recording but what `verify` expects of it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: body for name, body in names.items() if not name.startswith("expected/")}


def test_the_recording_is_what_its_script_makes(tmp_path: Path) -> None:
    report = make(tmp_path / "new")
    assert (report.outcome, report.exit_code) == ("done", 0)
    assert content(tmp_path / "new") == content(TARGET), "run: python dev/make_recording.py"


def test_the_recording_says_that_its_products_are_invented() -> None:
    assert Recording.open(TARGET).attribution == NOTE


def test_the_stock_options_replay_it_whole() -> None:
    recording = Recording.open(TARGET)
    assert recording.complete
    source = Cima(CimaOptions(), recording.clock(), recording=recording)
    first, second = list(source.keys()), list(source.keys())
    assert first == second
    read = rows_of(source.pull(Position(first[0].cursor), recording.started))
    left = [key for page in first for key in page.keys if key not in {row.key for row in read}]
    rows = read + rows_of(source.fetch(left))
    assert [row.key for row in rows if "#" in row.key] == ["99 003-95-96#psum"]
    assert all(row.answers for row in rows)
    assert len({change.ref for row in rows for change in source.to_changes(row)}) > 10
