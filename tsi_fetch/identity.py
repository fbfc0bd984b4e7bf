"""Which ids a job's resources have at the sink: the source's own, or the same under the job's prefix.

A prefix keeps the ids of two sources apart, and makes numeric ones acceptable (HAPI takes no id of digits only).  The
identity is applied to what a source's mapping gives, before anything else sees it; so what is known, held, waiting and
written has the sink's ids only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from tsi_fetch.errors import Unusable
from tsi_fetch.fhir.tokens import NotJson, dump, parse
from tsi_fetch.words import Change, Deletion, Fault, Json, Ref

PREFIX = r"[A-Za-z0-9.-]{1,16}"
"""What may stand in front: characters of an id (FHIR R5, datatypes.html#id), and room for the hash of a long one."""

LONGEST_ID = 64
_HASH = 40  # hex digits
_REWRITING = b"prefix 2"
"""Raised whenever the same prefix would give another result: it is part of the salt."""

_ID = r"[^/?#|\s]+"  # wider than FHIR's: what refers to an id that the sink is going to refuse still names that one
_EXTENSIONS = ("extension", "modifierExtension")


@cache
def _literal(bases: tuple[str, ...]) -> re.Pattern[str]:
    """A literal reference, relative or under a base: type, id, version, fragment (FHIR R5, references.html#literal)."""
    under = "|".join(re.escape(base.rstrip("/")) for base in bases)
    base = f"(?:(?:{under})/)?" if under else ""
    return re.compile(rf"{base}([A-Z][A-Za-z]+)/({_ID})(?:/_history/{_ID})?(#\S+)?")


def default_prefix(job: str) -> str:
    """The prefix of a job that names none: its own name, or eight hex digits made from it where that is too long."""
    return job if re.fullmatch(PREFIX, job) else hashlib.sha256(job.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Identity:
    """How refs of the source become refs at the sink.  Without a prefix they stay; with one, `Type/1` is `Type/p-1`.

    `bases`: the source's own FHIR bases; what a reference names under one of them is a resource of the same source.
    """

    prefix: str = ""
    bases: tuple[str, ...] = ()

    @property
    def salt(self) -> bytes:
        """Part of the digest of raw answers, so that another identity maps everything anew.  Empty for `KEEP`."""
        return b"\0".join((_REWRITING, *(part.encode() for part in (self.prefix, *self.bases)))) if self.prefix else b""

    def apply(self, changes: Sequence[Change]) -> Sequence[Change]:
        """The same changes under the sink's ids; `Unusable` where a body is not a JSON object.

        Rewritten are the ref, the body's own id, every literal reference to a resource of the same source (wherever it
        stands, extensions and contained resources included), and a `url` that is such a reference to a Binary (the
        `url` of an extension is its name).  A reference loses its version, as versions are the source's own.  The
        entries of a Bundle are its own and stay as they are, as do narratives, `#contained` and `urn:` references, and
        every number as it is written.
        """
        return [self._change(change) for change in changes] if self.prefix else changes

    def ref(self, ref: Ref) -> Ref:
        """The ref at the sink."""
        return Ref(ref.type, self._id(ref.id)) if self.prefix else ref

    def _change(self, change: Change) -> Change:
        if isinstance(change, Deletion):
            return replace(change, ref=self.ref(change.ref))
        return replace(change, ref=self.ref(change.ref), body=self._body(change.body))

    def _body(self, body: bytes) -> bytes:
        try:
            resource = parse(body)
        except NotJson as e:
            raise Unusable(Fault("not-json", "$", str(e))) from e
        if not isinstance(resource, dict):
            raise Unusable(Fault("not-json", "$", "a resource is a JSON object"))
        if isinstance(own := resource.get("id"), str):
            resource["id"] = self._id(own)  # whether it is the ref's own is for validation to say
        self._rewrite(resource)
        return dump(resource)

    def _rewrite(self, node: Json, *, extension: bool = False) -> None:
        """In place.  Narratives need no care: their XHTML is one string, and no reference."""
        if isinstance(node, list):
            for child in node:
                self._rewrite(child, extension=extension)
        elif isinstance(node, dict):
            bundle = node.get("resourceType") == "Bundle"
            for key, value in node.items():
                if isinstance(value, str):
                    node[key] = value if extension and key == "url" else self._text(key, value)
                elif not (bundle and key == "entry"):
                    self._rewrite(value, extension=key in _EXTENSIONS)

    def _text(self, key: str, value: str) -> str:
        match = _literal(self.bases).fullmatch(value) if key in ("reference", "url") else None
        if match is None or (key == "url" and match[1] != "Binary"):
            return value
        return f"{match[1]}/{self._id(match[2])}{match[3] or ''}"

    def _id(self, ident: str) -> str:
        plain = f"{self.prefix}-{ident}"
        if len(plain) <= LONGEST_ID:
            return plain
        return f"{self.prefix}-{hashlib.sha256(ident.encode()).hexdigest()[:_HASH]}"


KEEP = Identity()
"""The source's ids as they are."""
