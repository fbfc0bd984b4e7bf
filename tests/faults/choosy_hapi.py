"""The made-up FHIR server of a life: it never takes some things, and counts what each run made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from tests.faults.bodies import is_retired, retires
from tests.faults.checker import Written
from tests.faults.register_story import REFUSED
from tests.faults.seen import Did
from tests.sinks.disturbed_hapi import SOMEONE, DisturbedHapi
from tests.sinks.fake_hapi import Refusal
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Ref

ANSWERS = {
    "is not the current version": "stale",
    "HAPI-0574": "refused",
    "HAPI-109": "what it refers to is not there",
    "Unable to delete": "still referred to",
}
"""What is in the words of a server that does not carry out a bundle: why."""


@dataclass
class ChoosyHapi(DisturbedHapi):
    """Never takes what has a certain word in it.  `written`: all that runs ever made here, wiped or restored since or
    not.  `said`: why it did not carry out what it was asked for, by name."""

    written: list[Written] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    _unheard: bool = False  # nobody is told of what is done now
    _before: int = 0  # how much was written before this request

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self._before = len(self.written)
        return super()._handle(request)

    def _do_late(self) -> None:
        self._unheard = True
        try:
            super()._do_late()
        finally:
            self._unheard = False

    def _spoil(self, fault: str, request: httpx.Request) -> httpx.Response:
        self.written[self._before :] = [replace(w, answered=False) for w in self.written[self._before :]]
        return super()._spoil(fault, request)

    def _append(self, ref: str, resource: dict[str, Any] | None, run: str) -> None:
        before = self.resources[ref][-1] if ref in self.resources else None
        super()._append(ref, resource, run)
        if run == SOMEONE:
            return
        did = _did(before.resource if before else None, resource)
        body = dump(resource) if resource is not None else None
        self.written.append(Written(run, Ref.parse(ref), did, not self._unheard, body))
        if before and before.run == SOMEONE and did in ("retired", "deleted"):
            self.flaws.append(f"{run} removed {ref}, of which the last version was another's")
        if before and before.run == SOMEONE and did == "updated":
            self.flaws.append(f"{run} wrote over {ref}, of which the last version was somebody else's")

    def _transaction(self, request: httpx.Request) -> httpx.Response:
        try:
            return super()._transaction(request)
        except Refusal as e:
            why = next((name for words, name in ANSWERS.items() if words in e.words), "another refusal")
            self.said[f"the sink says: {why}"] += 1
            raise

    def _check(self, entry: dict[str, Any]) -> None:
        super()._check(entry)
        if REFUSED.encode() in dump(entry.get("resource", {})):
            raise Refusal(self.refusal, "HAPI-0574: there is a word in it that this server does not take")

    def _apply(self, entry: dict[str, Any], run: str) -> dict[str, Any]:
        """A POST makes a new resource, whatever id is in it: nobody here should send one."""
        if entry["request"]["method"] != "POST":
            return super()._apply(entry, run)
        kind = entry["resource"]["resourceType"]
        ref = f"{kind}/new-{len(self.resources)}"
        self._append(ref, {**entry["resource"], "id": ref.partition("/")[2]}, run)
        return {"status": "201 Created", "location": f"{ref}/_history/1", "etag": "1"}


def _did(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Did:
    if after is None:
        return "deleted"
    if before is None:
        return "created"
    one, two = dump(before), dump(after)
    return "retired" if retires(one, two) and not is_retired(one) else "updated"
