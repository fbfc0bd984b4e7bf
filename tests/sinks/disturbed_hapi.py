"""The FHIR server in memory on a bad day, and one that looks closely: what is in flight together, who writes over whom.

Transactions are handled one after the other, as on a database; but they are in flight from when they come until their
answer leaves, and `linger` keeps them there until another one has come, or is not going to.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.sinks.fake_hapi import FakeHapi, Refusal, Version, content_of, outcome
from tsi_fetch.fhir.references import references
from tsi_fetch.fhir.tokens import dump

LINGER = 0.01  # seconds in which another lane's bundle comes, if one comes at all
SOMEONE = "someone"

NOTHING_DONE: dict[str, httpx.Response | type[httpx.RequestError]] = {
    "429": httpx.Response(429),
    "429 soon": httpx.Response(429, headers={"retry-after": "3"}),
    "429 at once": httpx.Response(429, headers={"retry-after": "0"}),
    "429 never": httpx.Response(429, headers={"retry-after": "100000"}),
    "429 past": httpx.Response(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "429 odd": httpx.Response(429, headers={"retry-after": "-1 soon"}),
    "502": httpx.Response(502, text="<html>bad gateway</html>"),
    "503": httpx.Response(503, headers={"retry-after": "1"}),
    "503 in words": outcome(503, "HAPI-0000: starting"),
    "504": httpx.Response(504, text=""),
    "race": outcome(409, "HAPI-0550: HAPI-0823: The operation has failed with a client-assigned ID constraint failure"),
    "login": httpx.Response(200, html="<html>who are you</html>"),
    "cut": httpx.Response(200, text='{"resourceType":"Bund'),
    "reset": httpx.ReadError,
    "refused": httpx.ConnectError,
    "timeout": httpx.ReadTimeout,
}
"""Faults that keep a request from being handled."""

DONE_ALL_THE_SAME = ("lost", "lost by reset", "garbled", "bad gateway")
"""Faults of the answer alone: the work is done."""

LATE = "late"
"""The answer times out, and the work is done later: before another request, or after the run; where the server is slow,
after the next one."""

UNTRUE = "entries refused"
"""A transaction answered with success, each entry with a refusal: no server should; nothing is done."""

BROKEN = "500"
"""A 500 of the moment, in FHIR's words.  Two in a row for one bundle could not be told from a resource's fault."""


@dataclass(frozen=True)
class _Flight:
    number: int
    writes: frozenset[str]
    creates: frozenset[str]
    refers: frozenset[str]

    def quarrel(self, other: _Flight) -> str | None:
        """Why these two may not be in flight together."""
        if both := self.writes & other.writes:
            return f"two bundles in flight write {sorted(both)}"
        for one, two in ((self, other), (other, self)):
            if both := one.creates & two.refers:
                return f"a bundle in flight creates {sorted(both)}, to which another one refers"
        return None


@dataclass
class DisturbedHapi(FakeHapi):
    """`bad_day`: what goes wrong with each request, in turn.  `notices`: it makes no version of what it has already.

    `slow`: what is late stays so, whatever else comes, until `catch_up`.

    `given`: what went wrong indeed, by name.  `refusal`: the status by which it refuses what it never takes.
    """

    bad_day: list[str | None] = field(default_factory=list)
    notices: bool = True
    slow: bool = False
    linger: bool = False
    flaws: list[str] = field(default_factory=list)  # what no sink should ever do
    together: int = 0  # bundles that were in flight with another one
    lost: int = 0  # answers to transactions that nobody got
    given: Counter[str] = field(default_factory=Counter)
    refusal: int = 422
    _flights: dict[int, _Flight] = field(default_factory=dict)
    _late: list[httpx.Request] = field(default_factory=list)
    _moved: threading.Condition = field(default_factory=threading.Condition)
    _began: int = 0

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or request.url.path.endswith("_search"):
            return super().handle(request)
        with self._in_flight(request):
            return super().handle(request)

    def catch_up(self) -> None:
        """What was late is done now."""
        with self._lock:
            while self._late:
                self._do_late()

    @property
    def late(self) -> bool:
        """Something is still to be done."""
        return bool(self._late)

    # what is in flight

    @contextmanager
    def _in_flight(self, request: httpx.Request) -> Iterator[None]:
        with self._moved:
            self._began += 1
            flight = self._flight(self._began, content_of(request)["entry"])
            self.flaws += [flaw for other in self._flights.values() if (flaw := flight.quarrel(other))]
            self.together += bool(self._flights)
            self._flights[flight.number] = flight
            self._moved.notify_all()
            if self.linger:
                self._moved.wait(LINGER)
        try:
            yield
        finally:
            with self._moved:
                del self._flights[flight.number]
                self._moved.notify_all()

    def _flight(self, number: int, entries: list[dict[str, Any]]) -> _Flight:
        puts = [e for e in entries if e["request"]["method"] == "PUT"]
        writes = frozenset(e["request"]["url"] for e in entries)
        refers = {ref for e in puts for ref in references(dump(e["resource"]))}
        creates = frozenset(e["request"]["url"] for e in puts if self.live(e["request"]["url"]) is None)
        return _Flight(number, writes, creates, frozenset(str(ref) for ref in refers) - writes)

    # what goes wrong

    def _handle(self, request: httpx.Request) -> httpx.Response:
        fault = self.bad_day.pop(0) if self.bad_day else None
        if self._late and fault is None and not self.slow:
            self._do_late()
        transaction = request.method == "POST" and not request.url.path.endswith("_search")
        if fault is None or (fault in (UNTRUE, LATE) and not transaction):
            return super()._handle(request)
        self.given[fault] += 1
        if fault == BROKEN:
            return outcome(500, "HAPI-0389: Failed to call access method: connection is not available")
        if fault in NOTHING_DONE:
            return self._instead(NOTHING_DONE[fault], request)
        if fault == UNTRUE:
            return _refused_inside(request)
        self.lost += transaction
        if fault == LATE:
            self._late.append(request)
            raise httpx.ReadTimeout("late", request=request)
        super()._handle(request)
        return self._spoil(fault, request)

    def _spoil(self, fault: str, request: httpx.Request) -> httpx.Response:
        if fault == "garbled":
            return httpx.Response(200, text='{"resourceType":"Bundle","entry":[{"resp')
        if fault == "bad gateway":
            return httpx.Response(502, text="<html>bad gateway</html>")
        error = httpx.RemoteProtocolError if fault == "lost by reset" else httpx.ReadTimeout
        raise error("lost", request=request)

    def _instead(self, answer: httpx.Response | type[httpx.RequestError], request: httpx.Request) -> httpx.Response:
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        raise answer("broken", request=request)

    def _do_late(self) -> None:
        super()._handle(self._late.pop(0))

    # what it looks at closely

    def _check(self, entry: dict[str, Any]) -> None:
        super()._check(entry)
        if entry.get("resource", {}).get("alias") == "unprocessable":
            raise Refusal(422, "HAPI-0936: the alias is not one that this server takes")

    def _append(self, ref: str, resource: dict[str, Any] | None, run: str) -> None:
        before = self.resources[ref][-1] if ref in self.resources else None
        if before and before.run == SOMEONE and run != SOMEONE and ref not in self._adopted(before, ref):
            self.flaws.append(f"{run} writes over somebody else's version {before.number} of {ref}")
        super()._append(ref, resource, run)

    def _adopted(self, before: Version, ref: str) -> set[str]:
        """Somebody did the same as we: it is ours as well from then on."""
        return {ref} if before.resource is not None and before.resource.get("name") != SOMEONE else set()

    def _apply(self, entry: dict[str, Any], run: str) -> dict[str, Any]:
        ref, before = entry["request"]["url"], self.live(entry["request"]["url"])
        if self.notices or before is None or before != entry.get("resource"):
            return super()._apply(entry, run)
        self._append(ref, entry["resource"], run)
        number = self.version(ref)
        return {"status": "200 OK", "location": f"{ref}/_history/{number}", "etag": str(number)}


def _refused_inside(request: httpx.Request) -> httpx.Response:
    answers = [
        {
            "response": {
                "status": "412 Precondition Failed",
                "etag": "1",
                "location": f"{e['request']['url']}/_history/1",
            }
        }
        for e in json.loads(request.content)["entry"]
    ]
    return httpx.Response(200, json={"resourceType": "Bundle", "type": "transaction-response", "entry": answers})
