"""Reading what the server holds: versions and bodies in bulk, single resources where a search cannot see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlencode

import httpx

from sinks.fhir.answers import Verdict, verdict
from sinks.fhir.documents import Document, Entry, Reply, head, version_in, version_of
from sinks.fhir.wire import AnswerTooLarge, Request, Wire
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.http.origin import origin_of
from tsi_fetch.words import Held, Ref, Version

VERSIONS = 200  # ids asked for at once
LISTED = 1000  # resources on one page of a listing; a server may give fewer
LISTED_BUNDLES = 100  # HAPI reads documents whole to name them: a thousand could outlast the timeout
LONGEST_LINK = 160  # characters of a link that are shown
BODIES = 50  # fewer, since the answer is held in memory

BUNDLE_VERSIONS = "type,link,entry.resource.id"
"""Where Bundles are searched for, HAPI 7.6 takes `_elements` as those of the search set: `id` alone leaves no entry,
as if there were none (tried).  With these an inner Bundle comes with its meta and without the texts of its sections."""

ID = re.compile(r"(?!\.+$)[A-Za-z0-9\-.]{1,64}")  # HAPI-0521 says the same; dots alone would change the path of a URL
TYPE = re.compile(r"[A-Z][A-Za-z]+")

NOT_OFFERED = frozenset({403, 405, 501})
"""How a server says that it gives no history, or not to us; nothing but `explain` asks for one."""

_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Cache-Control": "no-cache"}


class _PageGone(Exception):
    """The server no longer has the page that it named."""


class Finder:
    """Reads; never writes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> dict[Ref, Held]:
        """What is alive, by a search per type.  A deleted resource is not seen by a search: ask for it by `one`."""
        found: dict[Ref, Held] = {}
        by_type: dict[str, list[str]] = {}
        for ref in refs:
            if TYPE.fullmatch(ref.type) and ID.fullmatch(ref.id):
                by_type.setdefault(ref.type, []).append(ref.id)
        size = BODIES if bodies else VERSIONS
        for kind, ids in by_type.items():
            for start in range(0, len(ids), size):
                found |= {h.ref: h for h in self._some(kind, ids[start : start + size], bodies)}
        return found

    def _some(self, kind: str, ids: Sequence[str], bodies: bool) -> list[Held]:
        """Those of `ids`, in halves where the answer would be too large to hold."""
        try:
            return [held for held in self._search(kind, ids, bodies) if held.ref.id in ids]
        except AnswerTooLarge:
            if len(ids) == 1:
                raise
            middle = len(ids) // 2
            return self._some(kind, ids[:middle], bodies) + self._some(kind, ids[middle:], bodies)

    def listing(self, kind: str) -> Iterator[list[Held]]:
        """Everything alive of a type, without bodies.

        A server forgets its pages after a while (HAPI: 410, HAPI-0417): then it is begun once more, and gives only what
        was not given before.  TryAgain where that happens again.
        """
        seen: set[str] = set()
        for last in (False, True):
            try:
                yield from self._listed(kind, seen)
                return
            except _PageGone:
                if last:
                    raise TryAgain(
                        f"the server forgets the pages of a listing of {kind} while they are read",
                        "run again when it is less busy",
                    ) from None

    def _listed(self, kind: str, seen: set[str]) -> Iterator[list[Held]]:
        size = LISTED_BUNDLES if kind == "Bundle" else LISTED
        query = urlencode({"_elements": _elements(kind), "_count": str(size)})
        reply = self._wire.get(f"{kind}?{query}")
        if verdict(reply) is Verdict.GONE:
            return  # the server does not know this type, so it holds none
        for page in self._pages(reply, kind):
            new = [h for h in _of_page(page, keep=False) if h.ref.type == kind and h.ref.id not in seen]
            seen.update(h.ref.id for h in new)
            if new:
                yield new

    def one(self, ref: Ref) -> Held | None:
        """One resource with its body; a deleted one with the version of its deletion; None where none ever was."""
        reply = self._wire.get(str(ref))
        if verdict(reply) is Verdict.GONE:
            version = version_in(reply.headers.get("location", "")) if reply.status == 410 else None
            return Held(ref, version, deleted=True) if version else None
        if verdict(reply) is not Verdict.OK:
            raise TryAgain(f"{ref} cannot be read (status {reply.status})", "look at the server's log, then run again")
        held = _held(reply.body, keep=True)
        if held is None or held.ref != ref:
            raise TryAgain(f"the server answered another resource than {ref}", "look at what stands before the server")
        return held

    def history(self, ref: Ref, most: int) -> list[Version] | None:
        """The last versions, the latest first, without their texts (`_summary`: where Bundles are read, HAPI takes
        `_elements` as those of the history).  No version where it never was; None where the server gives no history."""
        if not (TYPE.fullmatch(ref.type) and ID.fullmatch(ref.id)):
            return []
        reply = self._wire.get(f"{ref}/_history?_count={most}&_summary=true", _of_history)
        if _of_history(reply) is Verdict.GONE:
            return None if reply.status in NOT_OFFERED else []
        page = reply.document if verdict(reply) is Verdict.OK and reply.kind == "Bundle" else None
        if page is None or page.type != "history":
            raise TryAgain(f"the history of {ref} was answered with status {reply.status}", "look at the server's log")
        return [version for entry in page.entry[:most] if (version := _version(entry))]

    def all(self, refs: Sequence[Ref]) -> dict[Ref, Held]:
        """Bodies of what is alive, and the deletions of what is not."""
        found = self.find(refs, bodies=True)
        gone: Mapping[Ref, Held | None] = {ref: self.one(ref) for ref in refs if ref not in found}
        return found | {ref: held for ref, held in gone.items() if held}

    def _search(self, kind: str, ids: Sequence[str], bodies: bool) -> Iterator[Held]:
        query = {"_id": ",".join(ids), "_count": str(len(ids))}
        if not bodies:
            query["_elements"] = _elements(kind)
        path = f"{kind}/_search"
        reply = self._wire.send(Request("POST", path, urlencode(query).encode(), _FORM))
        if verdict(reply) is Verdict.GONE:
            return  # the server does not know this type, so it holds none
        try:
            for page in self._pages(reply, path):
                yield from _of_page(page, keep=bodies)
        except _PageGone:
            raise TryAgain(f"the server forgets the pages of {path} while they are read", "run again") from None

    def _pages(self, reply: Reply, path: str) -> Iterator[Document]:
        """This page and all that follow.  TryAgain where the server leads us in a circle; hears a signal to stop."""
        seen: set[str] = set()
        while True:
            page = _page(reply, path)
            yield page
            following = next((link.url for link in page.link if link.relation == "next"), None)
            if following is None:
                return
            if following in seen:
                raise TryAgain(
                    f"the pages of {path} have no end: page {len(seen) + 1} leads back to {_shown(following)}",
                    "look at the server, and at what stands before it",
                )
            seen.add(following)
            self._wire.heed()
            reply = self._wire.get(self._same_origin(following))
            if verdict(reply) is Verdict.GONE:
                raise _PageGone

    def _same_origin(self, url: str) -> str:
        here = origin_of(httpx.URL(self._wire.url))
        try:
            there = origin_of(httpx.URL(self._wire.url).join(url))
        except (httpx.InvalidURL, ValueError) as e:  # ValueError: idna's, of a host that begins with `xn--`
            raise TryAgain(
                f"the FHIR server at {here} sends us on to what is no URL", "look at what stands before it"
            ) from e
        if there != here:
            raise SettingError(
                f"the FHIR server at {here} sends us on to {there}", "set the server's own address, or the sink's url"
            )
        return url


def _shown(url: str) -> str:
    """A link without what may be long in it: a search names all its ids."""
    return url if len(url) <= LONGEST_LINK else f"{url[: LONGEST_LINK - 1]}…"


def _page(reply: Reply, path: str) -> Document:
    found = reply.document if verdict(reply) is Verdict.OK and reply.kind == "Bundle" else None
    if found and found.type == "searchset":
        return found
    raise TryAgain(f"{path} was answered with status {reply.status} and no search set", "look at the server's log")


def _of_page(page: Document, *, keep: bool) -> Iterator[Held]:
    return (held for entry in page.entry if (held := _held(bytes(entry.resource), keep=keep)))


def _elements(kind: str) -> str:
    return BUNDLE_VERSIONS if kind == "Bundle" else "id"


def _of_history(reply: Reply) -> Verdict:
    """A server need not offer it, nor to everybody."""
    return Verdict.GONE if reply.status in NOT_OFFERED else verdict(reply)


def _version(entry: Entry) -> Version | None:
    identity = head(entry.resource) if bytes(entry.resource) else None
    if identity is not None and (number := version_of(identity.meta.version_id)):
        return Version(number, identity.meta.last_updated or None, identity.run, deleted=False)
    deleted = entry.request is not None and entry.request.method == "DELETE"
    number = entry.response.version if entry.response else None
    return Version(number, None, None, deleted=True) if deleted and number else None


def _held(body: bytes, *, keep: bool) -> Held | None:
    identity = head(body)
    version = version_of(identity.meta.version_id) if identity else None
    if identity is None or version is None:
        return None
    return Held(identity.ref, version, body if keep else None, run=identity.run)
