"""The folder sink: what `git diff` sees, and what a killed write leaves."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinks.folder import PAGE, Folder, FolderOptions
from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.words import Mark, Outcome, Ref, Result, Write, WriteAction

NOW = datetime(2030, 1, 1, tzinfo=UTC)
REF = Ref("Ingredient", "one")
BODY = b'{"resourceType":"Ingredient","id":"one","b":1.00,"a":[1e2,"\xc3\xa9"]}'
PRETTY = """{
  "resourceType": "Ingredient",
  "id": "one",
  "b": 1.00,
  "a": [
    1e2,
    "é"
  ]
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(root: Path) -> Folder:
    return Folder(FolderOptions(path=root), ReplayClock(NOW))


def permit() -> None:
    """Always."""


def put(folder: Folder, body: bytes = BODY, version: str | None = None) -> Outcome:
    [[outcome]] = folder.write([Write(REF, WriteAction.PUT, version, body)], permit)
    return outcome


def test_a_file_is_indented_in_the_order_given_with_its_number_tokens(folder: Folder, root: Path) -> None:
    put(folder)
    assert (root / "Ingredient" / "one.json").read_text() == PRETTY


def test_unchanged_content_does_not_touch_the_file(folder: Folder, root: Path) -> None:
    first = put(folder)
    file = root / "Ingredient" / "one.json"
    os.utime(file, ns=(1, 1))
    inode = file.stat().st_ino
    assert put(folder, version=first.version).result is Result.UNCHANGED
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (1, inode)


def test_the_version_is_the_hash_of_the_file(folder: Folder, root: Path) -> None:
    import hashlib

    outcome = put(folder)
    assert outcome.version == hashlib.sha256((root / "Ingredient" / "one.json").read_bytes()).hexdigest()


def test_a_file_that_somebody_edited_is_stale(folder: Folder, root: Path) -> None:
    first = put(folder)
    (root / "Ingredient" / "one.json").write_text('{"resourceType":"Ingredient","id":"one"}')
    stale = put(folder, version=first.version)
    assert stale.result is Result.STALE
    assert stale.held is not None
    assert stale.held.body == b'{"resourceType":"Ingredient","id":"one"}'


def test_opening_and_reading_write_nothing(folder: Folder, root: Path) -> None:
    folder.open()
    assert folder.find([REF]) == {}
    assert folder.read_mark("tsi-fetch-x") is None
    assert not root.exists()


def test_opening_leaves_leftovers_alone_and_the_first_write_removes_them(folder: Folder, root: Path) -> None:
    leftover = root / "Ingredient" / ".two.json.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    folder.open()
    assert leftover.exists()
    put(folder)
    assert sorted(p.name for p in root.glob("*/[!.]*.*") if not p.parent.name.startswith(".")) == ["one.json"]


def test_the_leftover_of_a_write_that_is_done_again_is_gone(folder: Folder, root: Path) -> None:
    leftover = root / "Ingredient" / ".one.json.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    young = NOW.timestamp()
    os.utime(leftover, (young, young))
    assert put(folder).result is Result.CREATED
    assert [p.name for p in (root / "Ingredient").iterdir()] == ["one.json"]


def test_a_young_temporary_file_may_be_another_jobs_and_stays(folder: Folder, root: Path) -> None:
    other = root / "Organization" / ".two.json.tmp"
    other.parent.mkdir(parents=True)
    other.write_text("being written")
    os.utime(other, (NOW.timestamp(), NOW.timestamp()))
    put(folder)
    assert other.exists()


def test_a_write_that_fails_leaves_the_old_file(folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(folder)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TryAgain, match="No space left"):
        put(folder, b'{"resourceType":"Ingredient","id":"one"}', first.version)
    assert [p.name for p in (root / "Ingredient").iterdir()] == ["one.json"]
    assert (root / "Ingredient" / "one.json").read_text() == PRETTY


def test_a_path_that_is_a_file_is_a_wrong_setting(root: Path) -> None:
    root.write_text("not a folder")
    with pytest.raises(SettingError, match="is not a folder"):
        Folder(FolderOptions(path=root), ReplayClock(NOW)).open()


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = Folder(FolderOptions(path=tmp_path / "file" / "out"), ReplayClock(NOW))
    with pytest.raises(SettingError, match="cannot be used"):
        put(folder)


def test_a_marker_is_written_once(folder: Folder, root: Path) -> None:
    first = folder.move_mark("tsi-fetch-x", Mark("run-1", 1), permit)
    content = (root / ".tsi-fetch.json").read_bytes()
    later = folder.move_mark("tsi-fetch-x", Mark("run-2", 2, first.version), permit)
    assert later == first
    assert (root / ".tsi-fetch.json").read_bytes() == content


def test_a_marker_that_cannot_be_read_is_a_wrong_setting(folder: Folder, root: Path) -> None:
    root.mkdir()
    (root / ".tsi-fetch.json").write_text("[")
    with pytest.raises(SettingError, match="not a marker"):
        folder.read_mark("tsi-fetch-x")


def test_what_is_not_a_resource_type_never_becomes_a_path(folder: Folder, root: Path) -> None:
    for kind in ("..", "/etc", "organization", "A/B", ""):
        [[outcome]] = folder.write([Write(Ref(kind, "x"), WriteAction.PUT, None, b"{}")], permit)
        assert outcome.result is Result.REFUSED
    assert not root.exists()


def test_a_body_nested_too_deeply_is_refused(folder: Folder) -> None:
    outcome = put(folder, b'{"a":' * 5000 + b"1" + b"}" * 5000)
    assert outcome.result is Result.REFUSED
    assert outcome.fault is not None
    assert outcome.fault.code == "folder-json"


def test_a_folder_has_the_release_of_its_options(root: Path) -> None:
    assert Folder(FolderOptions(path=root, release="R4"), ReplayClock(NOW)).release == "R4"


def test_a_listing_names_every_resource_of_a_type_with_its_version_and_nothing_else(folder: Folder, root: Path) -> None:
    outcome = put(folder)
    ends_in_json = Ref("Ingredient", "a.json")
    [[_]] = folder.write([Write(ends_in_json, WriteAction.PUT, None, BODY)], permit)
    [[_]] = folder.write([Write(Ref("Organization", "one"), WriteAction.PUT, None, BODY)], permit)
    (root / "Ingredient" / ".two.json.tmp").write_text("being written")
    (root / "Ingredient" / "note.txt").write_text("somebody's")
    (root / "Ingredient" / "odd_name.json").write_text("{}")
    (root / "Ingredient" / "folder.json").mkdir()
    listed = {held.ref: held for page in folder.listing("Ingredient") for held in page}
    assert set(listed) == {REF, ends_in_json}
    assert (listed[REF].version, listed[REF].body) == (outcome.version, None)


def test_a_listing_comes_in_pages(folder: Folder, root: Path) -> None:
    (root / "Ingredient").mkdir(parents=True)
    for number in range(PAGE + 2):
        (root / "Ingredient" / f"n{number}.json").write_text("{}")
    sizes = [len(page) for page in folder.listing("Ingredient")]
    assert sizes == [PAGE, 2]


def test_a_type_without_a_folder_or_that_is_none_has_an_empty_listing(folder: Folder, root: Path) -> None:
    assert list(folder.listing("Ingredient")) == []
    root.mkdir()
    assert list(folder.listing("..")) == []
    assert list(folder.listing("../out")) == []


def test_a_folder_takes_any_type_and_holds_what_it_is_given_at_once(folder: Folder, root: Path) -> None:
    folder.open(["Ingredient", "Organization"])
    assert (folder.ahead, folder.referential, root.exists()) == (0, False, False)
