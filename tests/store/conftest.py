"""A store of each kind per test: a copy of an SQLite file, and one PostgreSQL database that is emptied before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from store.handle import Stored, open_store
from store.schema import metadata
from store.upgrade import upgrade


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
