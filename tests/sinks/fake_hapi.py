"""A FHIR server in memory that answers as HAPI 7.6.0 (R5) was seen to answer: a handler for httpx.MockTransport.

It keeps versions, tombstones and referential integrity, runs transactions atomically, and can be told to fail.
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx

from tsi_fetch.fhir.tokens import canonical, dump, parse

BASE = "http://fhir.invalid/epi/api/fhir"
_CODES = "https://hapifhir.io/fhir/CodeSystem/hapi-fhir-storage-response-code"
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")

TYPES = ("Basic", "Bundle", "Device", "Ingredient", "Organization", "Substance")
INTERACTIONS = ["read", "vread", "update", "patch", "delete", "history-instance", "create", "search-type"]

Fault = Callable[[httpx.Request], httpx.Response | None]


@dataclass
class Version:
    number: int
    resource: dict[str, Any] | None  # None: deleted
    run: str


class Refusal(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@dataclass
class FakeHapi:
    """`faults`: asked in turn, once each, before a request is handled.  `lose`: answers lost after the work is done.

    `full`: nothing more can be stored; what changes nothing is taken.
    """

    release: str = "5.0.0"
    page: int = 1000
    max_body: int = 50_000_000
    faults: list[Fault] = field(default_factory=list)
    lose: int = 0
    full: bool = False
    gzip: bool = True
    elements: bool = True  # understands `_elements` of a statement
    offers: dict[str, list[str]] | None = None  # types and their interactions; None: all of them
    resources: dict[str, list[Version]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    transactions: list[list[str]] = field(default_factory=list)  # refs of those that were committed
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:  # as transactions on a database: one after the other
            return self._handle(request)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.faults:
            answer = self.faults.pop(0)(request)
            if answer is not None:
                return answer
        path = str(request.url).removeprefix(BASE).partition("?")[0].strip("/")
        if not str(request.url).startswith(BASE):
            return httpx.Response(404, json={"status": 404}, headers={"content-type": "application/fhir+json"})
        try:
            answer = self._route(request, path)
        except Refusal as e:
            return outcome(e.status, e.words)
        if self.lose and path == "":
            self.lose -= 1
            raise httpx.ReadTimeout("lost", request=request)
        return answer

    # what tests look at

    def live(self, ref: str) -> dict[str, Any] | None:
        versions = self.resources.get(ref)
        return versions[-1].resource if versions else None

    def version(self, ref: str) -> int:
        return self.resources[ref][-1].number if ref in self.resources else 0

    def put(self, ref: str, run: str = "someone", **members: Any) -> None:
        """Somebody else writes."""
        kind, ident = ref.split("/")
        self._append(ref, {"resourceType": kind, "id": ident, **members}, run)

    def delete(self, ref: str) -> None:
        """Somebody else deletes."""
        self._append(ref, None, "someone")

    def writes(self) -> list[httpx.Request]:
        return [r for r in self.requests if r.method == "POST" and not r.url.path.endswith("_search")]

    def sent(self) -> list[str]:
        """The refs of all transactions, of those that were refused too."""
        entries = (e for r in self.writes() for e in content_of(r)["entry"])
        return [e["request"]["url"] for e in entries]

    # the server

    def _route(self, request: httpx.Request, path: str) -> httpx.Response:
        if path == "metadata":
            part = self.elements and "_elements" in request.url.params
            return httpx.Response(200, json=self._statement() if part else {**self._statement(), "name": "whole"})
        if path.endswith("/_search"):
            form = parse_qs(request.content.decode())
            return self._search(path.partition("/")[0], form["_id"][0].split(","), form.get("_elements", [""])[0], 0)
        if request.method == "GET" and path.endswith("/_history"):
            return self._history(path.removesuffix("/_history"), int(request.url.params["_count"]))
        if request.method == "GET" and "_count" in request.url.params:
            ids = [ref.partition("/")[2] for ref in sorted(self.resources) if ref.startswith(f"{path}/")]
            return self._search(path, ids, request.url.params["_elements"], 0)
        if request.method == "GET" and "_page" in request.url.params:
            ids = request.url.params["_ids"].split(",")
            elements = request.url.params.get("_elements", "")
            return self._search(path, ids, elements, int(request.url.params["_page"]))
        if request.method == "GET":
            return self._read(path)
        if request.method == "POST" and path == "":
            return self._transaction(request)
        raise Refusal(400, f"HAPI-0302: no such operation {request.method} {path}")

    def _statement(self) -> dict[str, Any]:
        offers = dict.fromkeys(TYPES, INTERACTIONS) if self.offers is None else self.offers
        types = [{"type": t, "interaction": [{"code": c} for c in codes]} for t, codes in offers.items()]
        rest = [{"mode": "server", "interaction": [{"code": "transaction"}], "resource": types}]
        return {"resourceType": "CapabilityStatement", "fhirVersion": self.release, "rest": rest}

    def _read(self, ref: str) -> httpx.Response:
        versions = self.resources.get(ref)
        if not versions:
            raise Refusal(404, f"HAPI-2001: Resource {ref} is not known")
        last = versions[-1]
        if last.resource is None:
            gone = outcome(410, "Resource was deleted at 2026-01-01T00:00:00.000+00:00")
            gone.headers["location"] = f"{BASE}/{ref}/_history/{last.number}"
            return gone
        return answer_of(self._rendered(last))

    def _history(self, ref: str, most: int) -> httpx.Response:
        if not (versions := self.resources.get(ref)):
            raise Refusal(404, f"HAPI-2001: Resource {ref} is not known")
        entries = [
            {"resource": self._rendered(v), "request": {"method": "PUT"}, "response": {"etag": f'W/"{v.number}"'}}
            if v.resource is not None
            else {"request": {"method": "DELETE"}, "response": {"etag": f'W/"{v.number}"'}}
            for v in reversed(versions[-most:])
        ]
        return answer_of({"resourceType": "Bundle", "type": "history", "total": len(versions), "entry": entries})

    def _rendered(self, version: Version) -> dict[str, Any]:
        resource = dict(version.resource or {})
        meta = {k: v for k, v in resource.get("meta", {}).items() if k != "source"}
        meta |= {"versionId": str(version.number), "source": f"#{version.run}"}
        narrative = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">made by the server</div>'}
        return {"text": narrative, **resource, "meta": meta}

    def _search(self, kind: str, ids: list[str], elements: str, start: int) -> httpx.Response:
        found = [v[-1] for i in ids if (v := self.resources.get(f"{kind}/{i}")) and v[-1].resource is not None]
        page = found[start : start + self.page]
        resources = [self._rendered(v) for v in page]
        if elements:
            resources = [{k: r[k] for k in ("resourceType", "id", "meta")} for r in resources]
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
        bundle["entry"] = [{"resource": r} for r in resources]
        if start + self.page < len(found):
            query = f"_ids={','.join(ids)}&_page={start + self.page}" + (f"&_elements={elements}" if elements else "")
            bundle["link"] = [{"relation": "self", "url": BASE}, {"relation": "next", "url": f"{BASE}/{kind}?{query}"}]
        if elements and kind == "Bundle":
            bundle = _as_elements_of_the_answer(bundle, elements)
        return answer_of(bundle)

    def _transaction(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("content-encoding") == "gzip" and not self.gzip:
            raise Refusal(400, "HAPI-0450: Failed to parse request body as JSON resource. HAPI-1861")
        if len(request.content) > self.max_body:
            return httpx.Response(413, text="<html>too large</html>")
        try:
            entries = content_of(request)["entry"]
        except ValueError as e:
            raise Refusal(400, "HAPI-0450: Failed to parse request body as JSON resource. HAPI-1861") from e
        refs = [e["request"]["url"] for e in entries]
        if len(set(refs)) != len(refs):
            raise Refusal(400, "HAPI-0535: Transaction bundle contains multiple resources with one ID")
        for entry in entries:
            self._check(entry)
        self._check_references(entries)
        self._check_deletions(entries)
        if self.full and any(self._changes(e) for e in entries):
            raise Refusal(500, "HAPI-0389: could not execute batch: No space left on device")
        run = request.headers.get("x-request-id", "")
        answers = [self._apply(entry, run) for entry in entries]
        self.transactions.append(refs)
        bundle = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": a} for a in answers]}
        return httpx.Response(200, json=bundle)

    def _check(self, entry: dict[str, Any]) -> None:
        ref = entry["request"]["url"]
        if entry["request"]["method"] == "DELETE":
            return
        resource = entry["resource"]
        text = dump(resource).decode()
        if ref.partition("/")[2].isdecimal():
            raise Refusal(400, f"HAPI-0960: Can not create resource with ID[{ref.partition('/')[2]}], no resource")
        if "active" in resource and not isinstance(resource["active"], bool):
            raise Refusal(
                400,
                "HAPI-0450: Failed to parse request body as JSON resource. Error was: HAPI-1821: "
                f'[element="active"] Invalid attribute value "{resource["active"]}": Invalid boolean string',
            )
        if "\\u0000" in text:
            raise Refusal(
                500, f"HAPI-0389: Failed to call access method: could not execute batch [Batch entry 0 {text}"
            )
        if "ifMatch" not in entry["request"]:
            return
        believed = int(entry["request"]["ifMatch"].removeprefix('W/"').rstrip('"'))
        if ref in self.resources and believed != self.version(ref):  # what never was is created, whatever is believed
            words = f"Trying to update {ref}/_history/{believed} but this is not the current version"
            raise Refusal(409, f"HAPI-0550: HAPI-0989: {words}")

    def _check_references(self, entries: list[dict[str, Any]]) -> None:
        written = {e["request"]["url"] for e in entries if e["request"]["method"] == "PUT"}
        for entry in entries:
            for path, target in _references(entry.get("resource", {})):
                if target in written or self.live(target) is not None:
                    continue
                if target in self.resources:
                    raise Refusal(400, f"HAPI-1096: Resource {target} is deleted, specified in path: {path}")
                raise Refusal(400, f"HAPI-1094: Resource {target} not found, specified in path: {path}")

    def _check_deletions(self, entries: list[dict[str, Any]]) -> None:
        after = {ref: versions[-1].resource for ref, versions in self.resources.items()}
        after |= {e["request"]["url"]: e.get("resource") for e in entries}
        deleted = {e["request"]["url"] for e in entries if e["request"]["method"] == "DELETE"}
        for ref, resource in after.items():
            for path, target in _references(resource or {}):
                if target in deleted:
                    first = f"First reference found was resource {ref} in path {path}"
                    words = f"Unable to delete {target} because at least one resource has a reference to this resource."
                    raise Refusal(409, f"{words} {first}")

    def _changes(self, entry: dict[str, Any]) -> bool:
        before = self.live(entry["request"]["url"])
        if "resource" not in entry:
            return before is not None
        return before is None or not _same(before, entry["resource"])

    def _apply(self, entry: dict[str, Any], run: str) -> dict[str, Any]:
        ref = entry["request"]["url"]
        before = self.live(ref)
        if entry["request"]["method"] == "DELETE":
            if before is None:
                code = "SUCCESSFUL_DELETE_ALREADY_DELETED" if ref in self.resources else "SUCCESSFUL_DELETE_NOT_FOUND"
                known = _located(ref, self.version(ref)) if ref in self.resources else {}
                return {"status": "204 No Content", **known, "outcome": _done(code)}
            self._append(ref, None, run)
            return {
                "status": "204 No Content",
                **_located(ref, self.version(ref)),
                "outcome": _done("SUCCESSFUL_DELETE"),
            }
        if before is not None and _same(before, entry["resource"]):
            done = _done("SUCCESSFUL_UPDATE_NO_CHANGE")
            return {"status": "200 OK", **_located(ref, self.version(ref)), "outcome": done}
        self._append(ref, entry["resource"], run)
        status, code = (
            ("201 Created", "SUCCESSFUL_UPDATE_AS_CREATE") if before is None else ("200 OK", "SUCCESSFUL_UPDATE")
        )
        return {"status": status, **_located(ref, self.version(ref)), "outcome": _done(code)}

    def _append(self, ref: str, resource: dict[str, Any] | None, run: str) -> None:
        number = self.version(ref) + 1
        self.resources.setdefault(ref, []).append(Version(number, resource, run))


def _located(ref: str, version: int) -> dict[str, str]:
    return {"location": f"{ref}/_history/{version}", "etag": str(version)}


def _done(code: str) -> dict[str, Any]:
    coding = {"coding": [{"system": _CODES, "code": code}]}
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "details": coding}]}


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return canonical(a) == canonical(b)


def _references(node: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(node, list):
        return [found for child in node for found in _references(child, path)]
    if not isinstance(node, dict):
        return []
    if node.get("resourceType") == "Bundle":
        return []
    path = path or node.get("resourceType", "")
    reference = str(node.get("reference", "")).removeprefix(f"{BASE}/")  # HAPI makes its own base relative
    here = [(path, reference)] if _REFERENCE.fullmatch(reference) else []
    return here + [found for key, child in node.items() for found in _references(child, f"{path}.{key}")]


def content_of(request: httpx.Request) -> Any:
    """The JSON that was sent, whether compressed or not."""
    packed = request.headers.get("content-encoding") == "gzip"
    return parse(gzip.decompress(request.content) if packed else request.content)


def answer_of(resource: Any) -> httpx.Response:
    """Numbers are spelled as they were sent: HAPI keeps `72.50`."""
    return httpx.Response(200, content=dump(resource), headers={"content-type": "application/json"})


def outcome(status: int, words: str) -> httpx.Response:
    """An OperationOutcome, as HAPI words it."""
    issue = [{"severity": "error", "code": "processing", "diagnostics": words}]
    return httpx.Response(status, json={"resourceType": "OperationOutcome", "issue": issue})


def answer(status: int, **kwargs: Any) -> Fault:
    """A fault: this answer instead of the work."""
    return lambda request: httpx.Response(status, **kwargs)


def says(status: int, words: str) -> Fault:
    """A fault: an OperationOutcome instead of the work."""
    return lambda request: outcome(status, words)


def breaks(error: type[httpx.RequestError]) -> Fault:
    """A fault of the network: nothing was done."""

    def fault(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)

    return fault


def works(request: httpx.Request) -> None:
    """No fault: the request is handled."""


def _as_elements_of_the_answer(searchset: dict[str, Any], elements: str) -> dict[str, Any]:
    """HAPI means the elements of the answer itself, where Bundles are searched for: `id` alone leaves no entry."""
    roots = {path.partition(".")[0] for path in elements.split(",")}
    return {k: v for k, v in searchset.items() if k == "resourceType" or k in roots}
