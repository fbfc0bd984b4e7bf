"""What a server acknowledges of a transaction, entry by entry."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sinks.fhir.documents import EntryResponse, Reply
from tsi_fetch.errors import TryAgain
from tsi_fetch.words import Outcome, Result, Write, WriteAction

_CHANGED = frozenset({Result.CREATED, Result.UPDATED, Result.DELETED})
_NOTHING_TO_DELETE = frozenset({"SUCCESSFUL_DELETE_ALREADY_DELETED", "SUCCESSFUL_DELETE_NOT_FOUND"})

_SUCCESS = re.compile(r"2\d\d(?= |$)")
_VERSION = re.compile(r"(?!0+$)[A-Za-z0-9][A-Za-z0-9\-.]{0,63}")
"""FHIR's id, HAPI's digits; never nought, which is what we send for *create only*."""


def acknowledged(writes: Sequence[Write], reply: Reply) -> list[Outcome]:
    """Read every entry of the answer to a transaction.  TryAgain where it is not one answer per write."""
    document = reply.document
    if document is None or reply.kind != "Bundle" or document.type != "transaction-response":
        raise _unreadable("it is no response to a transaction")
    if len(document.entry) != len(writes):
        raise _unreadable("it does not hold one entry per resource")
    return [_outcome(write, entry.response) for write, entry in zip(writes, document.entry, strict=True)]


def stored(outcomes: Sequence[Outcome], reply: Reply) -> bool:
    """True where the server must have stored something to acknowledge this."""
    entries = reply.document.entry if reply.document else []
    idle = [bool(entry.response and entry.response.codes & _NOTHING_TO_DELETE) for entry in entries]
    return any(o.result in _CHANGED and not i for o, i in zip(outcomes, idle, strict=True))


def _outcome(write: Write, response: EntryResponse | None) -> Outcome:
    success = _SUCCESS.match(response.status) if response else None
    if response is None or success is None:
        raise _unreadable(f"{write.ref} has no status of success")
    if response.location and f"/{write.ref}/_history/" not in f"/{response.location}":
        raise _unreadable(f"{write.ref} is answered by another resource")
    if any(not _VERSION.fullmatch(version) for version in response.versions) or len(response.versions) > 1:
        raise _unreadable(f"{write.ref} has a version that is none, or two")
    if write.action is WriteAction.DELETE:
        return Outcome(write.ref, Result.DELETED, response.version)
    if response.version is None:
        raise _unreadable(f"{write.ref} has no version")
    if "SUCCESSFUL_UPDATE_NO_CHANGE" in response.codes:
        return Outcome(write.ref, Result.UNCHANGED, response.version)
    return Outcome(write.ref, _change(write, success[0], response.version), response.version)


def _change(write: Write, status: str, version: str) -> Result:
    """`CREATED` also where a server counts anew: it had lost what we believed to update, whatever it says."""
    if status == "201" or counts_anew(write.version, version):
        return Result.CREATED
    return Result.UNCHANGED if version == write.version else Result.UPDATED


def counts_anew(believed: str | None, version: str | None) -> bool:
    """True where versions are numbers, and this one comes before the one believed.

    HAPI does not check the version of what it never had: `W/"3"` creates version 1.
    """
    numbers = (believed or "", version or "")
    return all(n.isdecimal() for n in numbers) and int(numbers[1]) < int(numbers[0])


def _unreadable(what: str) -> TryAgain:
    return TryAgain(
        f"the server's answer to a transaction cannot be trusted: {what}", "run again: what was written is recognised"
    )
