"""What may befall a real HAPI and its database: restarted, copied, restored; and what HAPI holds of one trial."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import httpx
import psycopg

from dev.hapi.classpath import NotAvailable
from dev.hapi.server import Server
from tests.faults.checker import Version
from tests.faults.life import Held
from tsi_fetch.fhir.equality import without_added_text
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.words import Ref

WELL_WITHIN = 120.0  # seconds after a restart of its database
_NAME = re.compile(r"([A-Za-z]+)/([A-Za-z0-9\-.]+)/_history/([0-9]+)")


class Machine:
    """A running HAPI on PostgreSQL.  Whoever restarts it must wait for it: each method ends when it answers again."""

    def __init__(self, server: Server) -> None:
        assert server.postgres is not None, "HAPI on H2 forgets everything with each restart"
        self._server, self._postgres = server, server.postgres
        self.url = server.url

    def restart(self, *, kill: bool) -> None:
        self._server.stop_java(kill=kill)
        self._start_java()

    def _start_java(self) -> None:
        """RuntimeError where it does not come back: what it needs is there, so nothing is skipped."""
        try:
            self._server.start_java()
        except NotAvailable as e:
            raise RuntimeError("HAPI did not come back") from e

    def restart_database(self) -> None:
        """As if its machine had failed: what was under way is lost, what was committed is not."""
        self._postgres.stop("immediate")
        self._postgres.start()
        self.await_health()

    def copy(self, name: str) -> None:
        """The database as it is, under another name; HAPI loses its connections for it, and makes new ones."""
        with self._connection() as sql:
            sql.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
            sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'")
            sql.execute(f"CREATE DATABASE {name} TEMPLATE postgres STRATEGY file_copy".encode())
            sql.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")
        self.await_health()

    def restore(self, name: str) -> None:
        """The database is what it was when the copy was made; HAPI is started on it anew.  The copy is used up."""
        self._server.stop_java(kill=True)
        with self._connection() as sql:
            sql.execute("DROP DATABASE postgres WITH (FORCE)")
            sql.execute(f"ALTER DATABASE {name} RENAME TO postgres".encode())
        self._start_java()

    def forget(self, name: str) -> None:
        """A copy that nobody needs any more, where there is one."""
        with self._connection() as sql:
            sql.execute(f"DROP DATABASE IF EXISTS {name}".encode())

    def await_health(self) -> None:
        """Wait until it answers from its database."""
        deadline = time.monotonic() + WELL_WITHIN
        while not self._is_well():
            if time.monotonic() > deadline:
                raise TimeoutError("HAPI does not find its database again")
            time.sleep(0.2)

    def _is_well(self) -> bool:
        try:
            asked = {"_count": "1", "_elements": "id"}
            return httpx.get(f"{self.url}/Device", params=asked, headers=_FRESH, timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def _connection(self) -> psycopg.Connection[Any]:
        url = f"postgresql://postgres@127.0.0.1:{self._postgres.port}/template1"
        return psycopg.connect(url, autocommit=True)


_FRESH = {"Cache-Control": "no-cache"}


class Desk:
    """Who looks at the server past the sink, and writes to it as somebody else."""

    def __init__(self, url: str) -> None:
        self._url = url

    def histories(self, since: datetime, also: Collection[Ref]) -> dict[Ref, list[Held]]:
        """All versions of everything that was written since then, and of `also`, oldest first; no markers.

        `Version.run`: what stands behind the # of `meta.source`; of a deletion, where HAPI keeps nothing, None.
        """
        with closing(self._client()) as client:
            found: dict[Ref, dict[int, Held]] = {}
            _sort(_pages(client, "_history", {"_since": since.isoformat(), "_count": "200"}), found)
            older = {ref for ref, versions in found.items() if 1 not in versions}
            for ref in older | (set(also) - found.keys()):
                _sort(_pages(client, f"{ref}/_history", {"_count": "200"}), found)
        return {ref: [versions[n] for n in sorted(versions)] for ref, versions in found.items() if ref.type != "Device"}

    def edit(self, ref: Ref, body: bytes) -> bool:
        """Somebody puts it; True where that made a version."""
        with closing(self._client()) as client:
            answer = client.put(str(ref), content=body, headers={"Content-Type": "application/fhir+json"})
        return answer.status_code in (200, 201)

    def revive(self, ref: Ref) -> None:
        """What another life retired is as its source says again."""
        with closing(self._client()) as client:
            answer = client.get(str(ref))
            if answer.status_code in (404, 410):
                return
            found = parse(answer.raise_for_status().content)
            if found.pop("active", True) is False:
                put = client.put(str(ref), content=dump(found), headers={"Content-Type": "application/fhir+json"})
                put.raise_for_status()

    def delete(self, ref: Ref) -> bool:
        """Somebody deletes it; False where others refer to it."""
        with closing(self._client()) as client:
            return client.delete(str(ref)).status_code in (200, 204)

    def version(self, ref: Ref) -> str | None:
        """Which one is there."""
        with closing(self._client()) as client:
            answer = client.get(str(ref))
        return str(answer.json()["meta"]["versionId"]) if answer.status_code == 200 else None

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=f"{self._url}/", headers=_FRESH, timeout=120)


def _pages(client: httpx.Client, path: str, parameters: dict[str, str]) -> Iterator[Any]:
    """Entries of a history, whatever the number of its pages; none where the server does not know it."""
    answer = client.get(path, params=parameters)
    while answer.status_code != 404:
        bundle = parse(answer.raise_for_status().content)
        yield from bundle.get("entry", [])
        following = [link["url"] for link in bundle.get("link", []) if link["relation"] == "next"]
        if not following:
            return
        answer = client.get(following[0])


def _sort(entries: Iterator[Any], into: dict[Ref, dict[int, Held]]) -> None:
    for entry in entries:
        name = _NAME.fullmatch(entry["request"]["url"])
        assert name, entry["request"]["url"]
        resource = entry.get("resource")
        into.setdefault(Ref(name[1], name[2]), {})[int(name[3])] = Held(name[3], _version(resource))


def _version(resource: Any) -> Version:
    if resource is None:
        return Version(None, None)
    source = str(resource.get("meta", {}).get("source", ""))
    return Version(dump(without_added_text(resource, None)), source.rpartition("#")[2] or None)
