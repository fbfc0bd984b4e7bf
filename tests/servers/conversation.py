"""Talking to a real FHIR server without our sink in between: what the contract suite asks, and how it reads answers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Json, Ref

FHIR_JSON = "application/fhir+json"
NO_CHANGE = "SUCCESSFUL_UPDATE_NO_CHANGE"
SNAPSHOT = {"X-Meta-Snapshot-Mode": "TAG, PROFILE, SECURITY_LABEL"}
XHTML = "http://www.w3.org/1999/xhtml"

_CODE = re.compile(r"HAPI-\d{4}")


class Fhir:
    """One server.  Asks for fresh answers, as the sink does; safe to use from several threads."""

    def __init__(self, url: str, release: str) -> None:
        self.url, self.release = url, release
        headers = {"Accept": FHIR_JSON, "Cache-Control": "no-cache"}
        self.http = httpx.Client(base_url=url + "/", headers=headers, timeout=180)

    def __enter__(self) -> Fhir:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()

    def put(self, resource: Json, **headers: str) -> httpx.Response:
        path = f"{resource['resourceType']}/{resource['id']}"
        return self.http.put(path, content=dump(resource), headers=_headers(headers))

    def get(self, path: object) -> httpx.Response:
        return self.http.get(str(path))

    def read(self, ref: object) -> Json:
        answer = self.get(ref)
        assert answer.status_code == 200, f"{ref}: {answer.status_code}"
        return answer.json()

    def delete(self, ref: object, **headers: str) -> httpx.Response:
        return self.http.delete(str(ref), headers=_headers(headers))

    def transact(self, *entries: Json, **headers: str) -> httpx.Response:
        return self.bundle("transaction", entries, **headers)

    def bundle(self, kind: str, entries: Sequence[Json], **headers: str) -> httpx.Response:
        body = dump({"resourceType": "Bundle", "type": kind, "entry": list(entries)})
        return self.http.post("", content=body, headers=_headers(headers))

    def search(self, kind: str, **parameters: str) -> Json:
        answer = self.http.post(f"{kind}/_search", data=parameters)
        assert answer.status_code == 200, answer.status_code
        return answer.json()


def _headers(more: dict[str, str]) -> dict[str, str]:
    return {"Content-Type": FHIR_JSON, **{name.replace("_", "-"): value for name, value in more.items()}}


class Ids:
    """Ids that no other test has: `ids("a")`."""

    def __init__(self) -> None:
        self._prefix = f"t{uuid.uuid4().hex[:8]}"

    def __call__(self, name: object = "a") -> str:
        return f"{self._prefix}-{name}"


@dataclass(frozen=True)
class Crowd:
    """Two thousand Organizations that one transaction made, and its answer; `identifier` (a token) is all of theirs."""

    names: list[str]
    identifier: str
    answer: httpx.Response

    @classmethod
    def at(cls, fhir: Fhir) -> Crowd:
        ids = Ids()
        names = [ids(n) for n in range(2000)]
        identifier = [{"system": "http://t.invalid/crowd", "value": ids("all")}]
        entries = [entry(org(name, identifier=identifier), "0") for name in names]
        answer = fhir.transact(*entries, Prefer="return=minimal")
        return cls(names, f"http://t.invalid/crowd|{ids('all')}", answer)


def org(ident: str, **members: Json) -> dict[str, Any]:
    return {"resourceType": "Organization", "id": ident, **members}


def part_of(ident: str, whole: str, **members: Json) -> dict[str, Any]:
    """An Organization that refers to another; `whole` is an id, or the reference itself where it holds a slash."""
    return org(ident, partOf={"reference": whole if "/" in whole else f"Organization/{whole}"}, **members)


def observed(ident: str, value: Json = 1, **members: Json) -> dict[str, Any]:
    quantity = {"value": value, "unit": "mg"}
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"text": "x"},
        "valueQuantity": quantity,
        **members,
    }


def narrated(ident: str, inner: str, status: str = "additional") -> dict[str, Any]:
    """An Organization with a narrative."""
    return org(ident, text={"status": status, "div": f'<div xmlns="{XHTML}">{inner}</div>'})


def document(ident: str, *inner: Json, status: str = "additional") -> dict[str, Any]:
    """A document Bundle: a Composition with two sections, then `inner`.  Its author is nowhere."""
    div = f'<div xmlns="{XHTML}">a&#160;b&amp;c<a name="x"></a><img src="x" alt=""/><br/>é</div>'
    composition = {
        "resourceType": "Composition",
        "id": "c",
        "status": "final",
        "type": {"text": "leaflet"},
        "date": "2026-01-01",
        "author": [{"reference": "Organization/nowhere"}],
        "title": "Leaflet",
        "section": [{"title": title, "text": {"status": status, "div": div}} for title in ("1", "2")],
    }
    return {
        "resourceType": "Bundle",
        "id": ident,
        "type": "document",
        "identifier": {"system": "http://t.invalid", "value": ident},
        "timestamp": "2026-01-01T00:00:00Z",
        "entry": [{"fullUrl": f"http://t.invalid/{ref(r)}", "resource": r} for r in (composition, *inner)],
    }


def ref(resource: Json) -> Ref:
    return Ref(resource["resourceType"], resource["id"])


def entry(resource: Json, version: str | None = None) -> dict[str, Any]:
    """A PUT in a transaction; `version`: what it expects the server to hold ("0": nothing)."""
    request = {"method": "PUT", "url": str(ref(resource))}
    return {"resource": resource, "request": request | ({"ifMatch": f'W/"{version}"'} if version else {})}


def removal(resource: Json, **request: str) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": str(ref(resource)), **request}}


def words(answer: httpx.Response) -> str:
    """The server's own words about what is wrong; empty where it answers with something else than an outcome."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    return " · ".join(i.get("diagnostics", "") for i in body.get("issue", []))


def verdict(answer: httpx.Response) -> tuple[int, str]:
    """Status and HAPI's code, the innermost where it wraps one in another: `(400, "HAPI-1094")`."""
    found = _CODE.findall(words(answer))
    return answer.status_code, found[-1] if found else ""


def responses(answer: httpx.Response) -> list[Json]:
    """What a transaction says about each entry."""
    assert answer.status_code == 200, words(answer)[:300]
    return [e["response"] for e in answer.json()["entry"]]


def statuses(answer: httpx.Response) -> list[str]:
    return [r["status"][:3] for r in responses(answer)]


def etags(answer: httpx.Response) -> list[str]:
    return [r["etag"] for r in responses(answer)]


def outcomes(answer: httpx.Response) -> list[str]:
    """HAPI's storage response codes, one per entry."""
    return [r["outcome"]["issue"][0]["details"]["coding"][0]["code"] for r in responses(answer)]
