"""What a FHIR server's answer holds, as far as a sink reads it.  Bodies stay bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import msgspec

from tsi_fetch.words import Ref


class Coding(msgspec.Struct):
    code: str = ""


class Details(msgspec.Struct):
    coding: list[Coding] = []


class Issue(msgspec.Struct):
    severity: str = ""
    code: str = ""
    diagnostics: str = ""
    details: Details | None = None


class OperationOutcome(msgspec.Struct):
    issue: list[Issue] = []


class EntryResponse(msgspec.Struct):
    status: str = ""
    location: str = ""
    etag: str = ""
    outcome: OperationOutcome | None = None

    @property
    def versions(self) -> frozenset[str]:
        """What etag and location name: one and the same, if all is well.

        HAPI writes the entry's etag bare ("3"); other servers as the header has it (W/"3").
        """
        return frozenset(v for v in (version_of(self.etag), version_in(self.location)) if v)

    @property
    def version(self) -> str | None:
        return next(iter(self.versions), None)

    @property
    def codes(self) -> frozenset[str]:
        """What the server says it did: HAPI's storage response codes."""
        issues = self.outcome.issue if self.outcome else []
        return frozenset(c.code for i in issues if i.details for c in i.details.coding)


class EntryRequest(msgspec.Struct):
    method: str = ""


class Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    request: EntryRequest | None = None
    response: EntryResponse | None = None


class Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class Interaction(msgspec.Struct):
    code: str = ""


class OfferedType(msgspec.Struct):
    type: str = ""
    interaction: list[Interaction] = []


class Rest(msgspec.Struct):
    mode: str = ""
    resource: list[OfferedType] = []
    interaction: list[Interaction] = []


class Document(msgspec.Struct, rename="camel"):
    """Any resource that a server answers with: a Bundle, an OperationOutcome, a CapabilityStatement."""

    resource_type: str = ""
    type: str = ""
    fhir_version: str = ""
    issue: list[Issue] = []
    entry: list[Entry] = []
    link: list[Link] = []
    rest: list[Rest] = []

    @property
    def words(self) -> str:
        """The server's own words about what is wrong."""
        wrong = [i.diagnostics for i in self.issue if i.severity in ("error", "fatal") and i.diagnostics]
        return " · ".join(wrong or [i.diagnostics for i in self.issue if i.diagnostics])


class Meta(msgspec.Struct, rename="camel"):
    version_id: str = ""
    last_updated: str = ""
    source: str = ""


class Head(msgspec.Struct, rename="camel"):
    """The identity of a resource."""

    resource_type: str = ""
    id: str = ""
    meta: Meta = msgspec.field(default_factory=Meta)

    @property
    def ref(self) -> Ref:
        return Ref(self.resource_type, self.id)

    @property
    def run(self) -> str | None:
        """The request id behind the `#` of `meta.source`: HAPI keeps our run id there."""
        _, mark, request = self.meta.source.rpartition("#")
        return request if mark and request else None


READ = ("Bundle", "OperationOutcome", "CapabilityStatement")
"""The resources of which more is read than the identity."""

_document = msgspec.json.Decoder(Document)
_head = msgspec.json.Decoder(Head)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.  `document` is None where the body is not FHIR, whatever its media type says."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    document: Document | None = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def kind(self) -> str:
        return self.document.resource_type if self.document else ""

    @classmethod
    def of(cls, response: httpx.Response) -> Reply:
        body = response.content
        return cls(response.status_code, response.headers, body, _read(body))


def _read(body: bytes) -> Document | None:
    try:
        document = _document.decode(body)
    except msgspec.ValidationError:
        return _other(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document if document.resource_type else None


def _other(body: bytes) -> Document | None:
    """A resource whose elements have the names of those that we read, and are something else: a Device's `type`."""
    identity = head(body)
    if identity is None or identity.resource_type in ("", *READ):
        return None
    return Document(resource_type=identity.resource_type)


def head(body: bytes | msgspec.Raw) -> Head | None:
    """The identity of a resource; None where the bytes are not JSON of a resource."""
    try:
        return _head.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def version_of(etag: str) -> str | None:
    """`W/"3"`, `"3"` and `3` are version 3; None for an empty tag."""
    return etag.removeprefix("W/").strip('"') or None


def version_in(location: str) -> str | None:
    """The version that a location names: `Type/id/_history/3`."""
    _, found, version = location.partition("/_history/")
    return version if found and version else None
