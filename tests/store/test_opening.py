"""Opening, creating and upgrading a store; what a wrong URL or a server that is down means."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from freezegun import freeze_time
from sqlalchemy import create_engine, inspect

from store.engine import Database, connect, parse
from store.handle import NoStore, Stored, open_scratch, open_store
from store.schema import HEAD, VERSION_TABLE, metadata
from store.upgrade import MIGRATIONS, state, upgrade
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import LeaseLost, SettingError, TryAgain
from tsi_fetch.words import RunRecord, Settlement

PASSWORD = "s3cret-of-the-store"


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def folder_state(folder: Path) -> dict[str, tuple[str, int]]:
    """Each file with its content and the time of its last change."""
    files = [f for f in folder.iterdir() if f.is_file()]
    return {f.name: (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def database(url: str) -> Database:
    return connect(parse(url))


def test_migrating_equals_creating(url: str) -> None:
    opened = database(url)
    with opened.read() as conn:
        context = MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        migrated = reflected(opened)
    opened.close()
    assert migrated.keys() >= {t.name for t in metadata.tables.values()}


def reflected(opened: Database) -> dict[str, object]:
    look = inspect(opened.engine)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(name)],
            sorted(str(i["name"]) for i in look.get_indexes(name)),
            sorted(str(u["name"]) for u in look.get_unique_constraints(name)),
            sorted(str(f["name"]) for f in look.get_foreign_keys(name)),
            look.get_pk_constraint(name)["constrained_columns"],
        )
        for name in look.get_table_names()
        if name != VERSION_TABLE
    }


def test_the_migrated_tables_are_those_that_the_metadata_creates(tmp_path: Path, sqlite_template: Path) -> None:
    created = create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    metadata.create_all(created)
    migrated = database(f"sqlite:///{sqlite_template}")
    assert reflected(migrated) == reflected(Database(created, "created"))
    for file, engine in ((sqlite_template, migrated.engine), (tmp_path / "created.db", created)):
        engine.dispose()
        assert file.exists()


def test_the_code_asks_for_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_upgrading_makes_the_schema_once(empty_url: str) -> None:
    assert state(empty_url) == "absent"
    assert upgrade(empty_url) == "absent"
    assert state(empty_url) == "current"
    with open_store(empty_url) as stored:
        first = stored.store_id
    assert upgrade(empty_url) == "current"
    with open_store(empty_url) as stored:
        assert stored.store_id == first
        assert len(bytes.fromhex(first)) == 4


def test_two_who_upgrade_at_once_take_turns(empty_url: str) -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(upgrade(empty_url))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["absent", "current"]


def test_who_makes_an_embedded_store_waits_for_whoever_has_it_locked(tmp_path: Path) -> None:
    """SQLite itself does not wait to set write-ahead logging; two who began at once met there, once in a hundred."""
    url, holder = f"sqlite:///{tmp_path / 'store.db'}", sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holder.executescript("PRAGMA user_version = 1; BEGIN IMMEDIATE")
    results: list[str] = []
    other = threading.Thread(target=lambda: results.append(upgrade(url)))
    other.start()
    other.join(0.3)
    assert (results, other.is_alive()) == ([], True)
    holder.execute("COMMIT")
    other.join()
    holder.close()
    assert (results, state(url)) == (["absent"], "current")


@pytest.mark.parametrize(("revision", "expected"), [("0000", "behind"), ("9999", "newer")])
def test_another_schema_is_a_setting_error(url: str, revision: str, expected: str) -> None:
    opened = database(url)
    with opened.write() as conn:
        conn.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")
    opened.close()
    assert state(url) == expected
    with pytest.raises(SettingError, match="newer" if expected == "newer" else "older") as refused:
        open_store(url)
    assert ("db upgrade" in refused.value.hint) is (expected == "behind")
    if expected == "newer":
        with pytest.raises(SettingError, match="newer"):
            upgrade(url)
    opened = database(url)
    with opened.write() as conn:
        conn.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{HEAD}'")
    opened.close()


def test_a_database_without_tables_asks_for_an_upgrade(make_database: Callable[[], str]) -> None:
    with pytest.raises(SettingError) as refused:
        open_store(make_database(), create=True)
    assert "tsi-fetch db upgrade" in refused.value.hint


def test_opening_writes_nothing(tmp_path: Path, sqlite_template: Path) -> None:
    file = tmp_path / "store.db"
    shutil.copy(sqlite_template, file)
    before = folder_state(tmp_path)
    for create in (False, True):
        with open_store(f"sqlite:///{file}", create=create) as stored:
            reader = stored.reader("cima", "out")
            assert (reader.position("s").cursor, reader.pending()) == (None, [])
    assert folder_state(tmp_path) == before


def test_a_missing_file_is_no_store_and_is_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sub' / 'store.db'}"
    with pytest.raises(NoStore):
        open_store(url)
    assert state(url) == "absent"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingError, match="is not there"):
        open_store(url, create=True)
    (tmp_path / "sub").mkdir()
    with open_store(url, create=True) as stored:
        assert stored.embedded is True
    assert state(url) == "current"


def test_a_creation_that_was_cut_short_is_made_good(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.touch()
    with pytest.raises(NoStore):
        open_store(f"sqlite:///{file}")
    open_store(f"sqlite:///{file}", create=True).close()
    assert state(f"sqlite:///{file}") == "current"


def test_an_embedded_store_is_written_ahead_and_keeps_its_references(tmp_path: Path) -> None:
    file = tmp_path / "100% store.db"
    with open_store(f"sqlite:///{file}", create=True) as stored, stored.database.read() as conn:
        settings = [
            conn.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "foreign_keys", "synchronous")
        ]
    assert settings == ["wal", 1, 2]


def test_a_file_that_is_no_database_is_a_wrong_setting(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_text("<html>a login page</html>" * 100)
    with pytest.raises(SettingError, match="not a database"):
        open_store(f"sqlite:///{file}")


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError):
        open_store(f"sqlite:///{tmp_path / 'file' / 'sub' / 'store.db'}", create=True)


def test_a_locked_file_is_try_again(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.engine.BUSY_SECONDS", 0.05)
    file = tmp_path / "store.db"
    shutil.copy(sqlite_template, file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with open_store(f"sqlite:///{file}") as stored:
        with pytest.raises(TryAgain, match="locked"), stored.lease("cima", "out", "run-1", wait=never):
            raise AssertionError("it is locked")
        other.execute("ROLLBACK")
        with stored.lease("cima", "out", "run-1", wait=never) as book:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TryAgain):
                book.settle(Settlement("s", checkpoint=("1",)))
            other.execute("ROLLBACK")
            book.settle(Settlement("s", checkpoint=("2",)))
            assert book.position("s").checkpoint == {"2"}
    other.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "store.db",
        "sqlite://",
        "sqlite:///:memory:",
        f"mysql://me:{PASSWORD}@db.invalid/x",
        f"postgresql+psycopg2://me:{PASSWORD}@db.invalid/x",
        f"postgresql://me:{PASSWORD}@db.invalid:port/x",
        f"oracle+{PASSWORD}://x",
    ],
)
def test_a_url_that_cannot_be_used_is_a_wrong_setting_and_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingError) as refused:
        open_store(url)
    assert PASSWORD not in repr(refused.value) + refused.value.hint
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("form", ["postgresql://me:{}@127.0.0.1:1/x", "postgres://127.0.0.1:1/x?user=me&password={}"])
def test_a_server_that_is_down_is_try_again_without_its_password(form: str) -> None:
    with pytest.raises(TryAgain, match=r"127\.0\.0\.1") as refused:
        open_store(form.format(PASSWORD))
    seen: BaseException | None = refused.value
    while seen is not None:
        assert PASSWORD not in f"{seen!r} {seen}"
        seen = seen.__cause__ or seen.__context__


def test_a_password_is_never_shown(postgres_url: str) -> None:
    url = postgres_url.replace("postgres:@", f"postgres:{PASSWORD}@")
    assert PASSWORD in url
    with open_store(f"{url}&password={PASSWORD}") as stored:
        shown = f"{stored!r} {stored} {stored.url} {stored.database.engine!r}"
        assert PASSWORD not in shown
        assert "***" in stored.url


def test_a_database_that_does_not_exist_is_a_wrong_setting(postgres: Callable[[str], str]) -> None:
    with pytest.raises(SettingError, match="does not exist"):
        open_store(postgres("never_made"))


def test_connections_that_were_cut_between_two_batches_are_made_anew(postgres_url: str) -> None:
    with open_store(postgres_url) as stored, stored.lease("cima", "out", "run-1", wait=never) as book:
        book.settle(Settlement("s", checkpoint=("1",)))
        cut(postgres_url)
        book.settle(Settlement("s", checkpoint=("2",)))
        assert book.position("s").checkpoint == {"1", "2"}


def write_and_cut(stored: Stored, url: str) -> None:
    """A transaction whose connection is gone when it comes to its COMMIT."""
    with stored.database.write() as conn:
        conn.exec_driver_sql("INSERT INTO types (name) VALUES ('Bundle')")
        cut(url)


def cut(url: str) -> None:
    """End every other connection to this database, as a restart would."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_commit_that_breaks_is_try_again_and_changed_nothing(postgres_url: str) -> None:
    with open_store(postgres_url) as stored, stored.lease("cima", "out", "run-1", wait=never) as book:
        with pytest.raises(TryAgain):
            write_and_cut(stored, postgres_url)
        with stored.database.read() as conn:
            assert conn.exec_driver_sql("SELECT count(*) FROM types").scalar() == 0
        book.permit()


def test_the_embedded_stores_clock_is_the_machines(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 's.db'}", create=True) as stored, freeze_time("2026-03-29T00:59:59Z"):
        assert stored.now() == stored.clock().now() == datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
        assert stored.clock(StopSignal()).offset == timedelta(0)


def test_a_postgres_stores_clock_is_the_servers_even_if_ours_is_a_day_ahead(postgres_url: str) -> None:
    with open_store(postgres_url) as stored:
        server = stored.now()
        with freeze_time(server + timedelta(days=1)):
            clock = stored.clock()
            assert abs(clock.now() - server) < timedelta(minutes=5)
            assert abs(clock.offset + timedelta(days=1)) < timedelta(minutes=5)


def test_a_lease_goes_by_the_servers_clock_not_by_ours(postgres_url: str) -> None:
    with open_store(postgres_url) as stored, stored.lease("cima", "out", "run-1", expiry=3600, wait=never) as book:
        with (
            freeze_time(datetime.now(UTC) + timedelta(days=1)),
            pytest.raises(TryAgain),
            stored.lease("cima", "out", "run-2", expiry=0.1, wait=lambda s: None),
        ):
            raise AssertionError("two hold it")
        book.settle(Settlement("s", checkpoint=("1",)))


def test_a_scratch_store_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with open_scratch() as stored, stored.lease("cima", "out", "plan", wait=never) as book:
        book.settle(Settlement("s", checkpoint=tuple(str(n) for n in range(20_000))))
        assert len(book.position("s").checkpoint) == 20_000
        book.permit()
    assert list(tmp_path.iterdir()) == []


def test_lease_lost_is_told_apart_from_a_busy_store(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", expiry=3600, wait=never) as book:
        with stored.database.write() as conn:
            conn.exec_driver_sql("UPDATE leases SET fence = fence + 1")
        with pytest.raises(LeaseLost, match="cima"):
            book.settle(Settlement("s", checkpoint=("1",)))
        assert book.position("s").checkpoint == frozenset()


def test_tables_that_this_version_does_not_know_are_a_wrong_setting(url: str) -> None:
    opened = database(url)
    with opened.write() as conn:
        conn.exec_driver_sql("ALTER TABLE notes RENAME TO notes_of_another_version")
    try:
        with (
            open_store(url) as stored,
            stored.lease("cima", "out", "r", wait=never) as store,
            pytest.raises(SettingError, match="other tables than this version makes"),
        ):
            store.recover()
    finally:
        with opened.write() as conn:
            conn.exec_driver_sql("ALTER TABLE notes_of_another_version RENAME TO notes")
        opened.close()


def test_a_clock_is_never_behind_what_runs_have_recorded(stored: Stored) -> None:
    """Where the machine's was set back by a day, what is fetched now would count as older than what was."""
    ahead = stored.now() + timedelta(days=1)
    with stored.lease("cima", "out", "r1", wait=never) as store:
        store.begin_run(RunRecord("r1", "cima", ahead))
        store.end_run(RunRecord("r1", "cima", ahead, ahead + timedelta(minutes=3), "done", 0))
    assert stored.latest() == ahead + timedelta(minutes=3)
    assert stored.clock().now() >= ahead + timedelta(minutes=3)


def test_a_clock_is_not_moved_by_runs_of_yesterday(stored: Stored) -> None:
    yesterday = stored.now() - timedelta(days=1)
    with stored.lease("cima", "out", "r1", wait=never) as store:
        store.begin_run(RunRecord("r1", "cima", yesterday))
    assert abs(stored.clock().now() - stored.now()) < timedelta(minutes=1)
