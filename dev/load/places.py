"""Where a load goes: a folder, or a real HAPI on PostgreSQL, with the store that a user would put beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import psycopg

from dev.hapi.server import Server, start
from dev.load.index import Version
from dev.load.resources import TYPES
from store.upgrade import upgrade
from tsi_fetch.fhir.tokens import dump, parse

LARGE = frozenset({"Bundle", "Composition"})
"""Types whose resources have texts: fewer of them make a page."""


class Place(Protocol):
    """`sink`: as the job file has it.  `store`: its URL.  `histories`: it keeps all versions, and says who wrote each;
    `verbatim`: it keeps what it is sent as it is sent."""

    name: str
    histories: bool
    verbatim: bool

    @property
    def sink(self) -> str: ...

    @property
    def store(self) -> str: ...

    def versions(self) -> Iterator[Version]:
        """All that it holds, and held, in any order; not the marker."""
        ...

    def megabytes(self) -> float: ...


@dataclass(frozen=True)
class InFolder:
    """A folder sink and a SQLite store."""

    folder: Path
    name = "folder, SQLite"
    histories, verbatim = False, True

    @property
    def sink(self) -> str:
        return f"{{kind: folder, path: '{self.folder / 'epi'}'}}"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder / 'store.db'}"

    def versions(self) -> Iterator[Version]:
        for kind, entry in self._files():
            body = Path(entry.path).read_bytes()
            yield Version(kind, entry.name.removesuffix(".json"), 1, hashlib.sha256(body).hexdigest(), body)

    def megabytes(self) -> float:
        return sum(entry.stat().st_size for _, entry in self._files()) / 1e6

    def _files(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """The files of resources; one that begins with a dot is what a killed write left, and nobody reads it."""
        root = self.folder / "epi"
        for kind in sorted(path for path in root.glob("[!.]*") if path.is_dir()) if root.exists() else ():
            with os.scandir(kind) as entries:
                yield from ((kind.name, entry) for entry in entries if not entry.name.startswith("."))


@dataclass(frozen=True)
class OnHapi:
    """HAPI R5, and a store in a database of its own beside HAPI's, on the same PostgreSQL."""

    server: Server
    database: str
    name = "HAPI R5, PostgreSQL"
    histories, verbatim = True, False

    @property
    def store(self) -> str:
        return self.database

    @property
    def sink(self) -> str:
        return f"{{kind: fhir, url: '{self.server.url}'}}"

    def versions(self) -> Iterator[Version]:
        with httpx.Client(base_url=f"{self.server.url}/", timeout=600, trust_env=False) as client:
            for kind in TYPES:
                yield from (_version(entry) for entry in _pages(client, kind))

    def megabytes(self) -> float:
        with psycopg.connect(self.database.rpartition("/")[0] + "/postgres") as sql:
            found = sql.execute("SELECT pg_database_size('postgres')").fetchone()
        return float(found[0]) / 1e6 if found else 0.0


def _pages(client: httpx.Client, kind: str) -> Iterator[Any]:
    """Entries of a type's history, page by page."""
    answer = client.get(f"{kind}/_history", params={"_count": "40" if kind in LARGE else "400"})
    while True:
        bundle = parse(answer.raise_for_status().content)
        yield from bundle.get("entry", [])
        following = [link["url"] for link in bundle.get("link", []) if link["relation"] == "next"]
        if not following:
            return
        answer = client.get(following[0])


def _version(entry: Any) -> Version:
    """`Type/id/_history/3`; who wrote it stands behind the # of `meta.source`."""
    kind, ident, _, number = entry["request"]["url"].rpartition("fhir/")[2].split("/")
    resource = entry.get("resource")
    if resource is None:
        return Version(kind, ident, int(number), number, None)
    source = str(resource.get("meta", {}).get("source", ""))
    return Version(kind, ident, int(number), number, dump(resource), source.rpartition("#")[2] or None)


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Place]:
    """`folder` or `hapi`.  NotAvailable where the server cannot be had."""
    if kind == "folder":
        yield InFolder(folder)
        return
    folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
    with start("R5", keep=folder / "hapi") as server:
        assert server.postgres
        at = f"postgresql://postgres@127.0.0.1:{server.postgres.port}"
        with psycopg.connect(f"{at}/postgres", autocommit=True) as sql:
            sql.execute("CREATE DATABASE tsi")
        upgrade(f"{at}/tsi")
        yield OnHapi(server, f"{at}/tsi")
