"""What an answer means: the one place that knows HAPI's codes (seen on 7.6.0 R5 and 7.4.0 R4).

Only an OperationOutcome may blame a resource.  A proxy's page, a broken body or a 404 of a wrong path never do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sinks.fhir.diagnostics import PATH, own, where, without_values
from sinks.fhir.documents import Reply
from tsi_fetch.errors import SettingError
from tsi_fetch.words import Fault, Ref


class Verdict(StrEnum):
    """What happens next."""

    OK = "ok"
    AGAIN = "again"  # the same request, later
    STALE = "stale"  # another version is there than believed: read and decide anew
    REFERRED = "referred"  # a deletion of what others still refer to
    MISSING = "missing"  # something in it refers to what is not there: HAPI-1094, HAPI-1096
    REFUSED = "refused"  # something in it will never be taken
    CONFLICT = "conflict"  # a 409 that is none of the conflicts we know: again, then something in it is refused
    BROKEN = "broken"  # a 500 with an OperationOutcome: a resource's fault if it comes again
    TOO_LARGE = "too large"
    GONE = "gone"  # 404 or 410 in FHIR's words; of a transaction: something in it refers to nothing
    SETTING = "setting"  # credential or address are wrong


_IN_FHIR_WORDS = {
    400: None,  # see _refused
    422: Verdict.REFUSED,
    404: Verdict.GONE,
    410: Verdict.GONE,
    500: Verdict.BROKEN,
    409: None,  # four things: see _conflict
    412: None,  # two: see _precondition
}
WRONG_SETTING = frozenset({401, 403, 404, 405, 410})
STALE_CODE = "HAPI-0989"  # HAPI answers 409 where the specification says 412
EDIT_CONFLICT = "conflict"  # FHIR's issue-type: "Content could not be accepted because of an edit conflict"
RACES = frozenset({"0823", "0825"})

_CODE = re.compile(r"HAPI-(\d{4})")
_STALE_REF = re.compile(r"HAPI-0989: Trying to update ([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]+)/_history/")
_REFERRED = re.compile(
    r"Unable to delete ([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]+) because at least one resource has a reference"
    rf"(?:.*?First reference found was resource (\S+) in path ({PATH}))?"
)
_ABSENT = re.compile(
    r"HAPI-(1094|1096): Resource ([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})"
    rf" (?:not found|is deleted), specified in path: ({PATH})"
)
_WHY = {"1094": "is not there", "1096": "was deleted"}


def verdict(reply: Reply) -> Verdict:
    """Judge an answer by its status and by what its body is, never by its media type."""
    if reply.ok:
        return Verdict.OK if reply.document else Verdict.AGAIN
    if reply.kind == "OperationOutcome" and reply.status in _IN_FHIR_WORDS:
        return _IN_FHIR_WORDS[reply.status] or _BY_WORDS[reply.status](reply)
    if reply.status in WRONG_SETTING or 300 <= reply.status < 400:
        return Verdict.SETTING
    return Verdict.TOO_LARGE if reply.status == 413 else Verdict.AGAIN


def _refused(reply: Reply) -> Verdict:
    return Verdict.MISSING if absence(reply) else Verdict.REFUSED


def _precondition(reply: Reply) -> Verdict:
    """HAPI says 412 of a search inside a bundle that finds several (HAPI-2207), never of a version."""
    issues = reply.document.issue if reply.document else []
    stale = STALE_CODE in words_of(reply) or any(i.code == EDIT_CONFLICT for i in issues)
    return Verdict.STALE if stale else Verdict.REFUSED


def _conflict(reply: Reply) -> Verdict:
    words = words_of(reply)
    if STALE_CODE in words:
        return Verdict.STALE
    if _REFERRED.search(words):
        return Verdict.REFERRED
    return Verdict.AGAIN if _is_race(words) else Verdict.CONFLICT


def _is_race(words: str) -> bool:
    """HAPI-0550 wraps others; alone it is the database's own word for writers that met."""
    codes = set(_CODE.findall(words))
    return bool(codes & RACES) or codes == {"0550"} or "could not execute batch" in words


_BY_WORDS = {400: _refused, 409: _conflict, 412: _precondition}


def words_of(reply: Reply) -> str:
    """The server's words, uncut: they may hold values, and go into nothing that is kept."""
    return reply.document.words if reply.document else ""


@dataclass(frozen=True, slots=True)
class Absence:
    """What is referred to and not there: `path` says from where, `why` in our words what became of it."""

    target: Ref
    code: str
    path: str
    why: str


def absence(reply: Reply) -> Absence | None:
    """The one target that a refusal names (there may be more)."""
    match = _ABSENT.search(own(words_of(reply)))  # a value may say so, too
    return Absence(Ref(match[2], match[3]), f"hapi-{match[1]}", match[4], _WHY[match[1]]) if match else None


def stale_ref(reply: Reply) -> Ref | None:
    """The one resource that a refusal as stale names (there may be more)."""
    match = _STALE_REF.search(words_of(reply))
    return Ref(match[1], match[2]) if match else None


def referred_ref(reply: Reply) -> Ref | None:
    """The resource that cannot be deleted."""
    match = _REFERRED.search(words_of(reply))
    return Ref(match[1], match[2]) if match else None


def referred_fault(reply: Reply) -> Fault:
    """Who still refers to it, and where."""
    match = _REFERRED.search(words_of(reply))
    who, path = (match[3], match[4]) if match else (None, None)
    return Fault("fhir-referred", path or "", f"{who or 'another resource'} still refers to it")


def refusal(reply: Reply) -> Fault:
    """Why the server refuses a resource, in its own words without values: code, path, rule."""
    words = words_of(reply)
    code = _CODE.search(words)
    name = f"hapi-{code[1]}" if code else f"fhir-{reply.status}"
    return Fault(name, where(words), without_values(words) or f"the server answered {reply.status}")


def wrong_setting(reply: Reply, url: str) -> SettingError:
    """Address or credential are wrong, named by what the server answered."""
    if reply.status in (401, 403):
        return SettingError(
            f"the FHIR server at {url} refuses us (status {reply.status})", "check the sink's token and what it allows"
        )
    return SettingError(
        f"there is no FHIR server at {url} (status {reply.status})", "check the sink's url: it must be the FHIR base"
    )
