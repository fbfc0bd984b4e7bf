"""What a resource's versions say, one after the other: who wrote them, why, and whether it was asked for.  Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from tests.faults.bodies import can_be_retired, identical, is_retired, retires
from tests.faults.seen import Edition, Evidence, Version
from tsi_fetch.fhir.equality import same as same_to_sinks
from tsi_fetch.words import Ref


def alike(e: Evidence, one: bytes, other: bytes) -> bool:
    """The same; where the sink spells anew what it is sent, by the only equality that knows how."""
    return _equal(one, other, verbatim=e.verbatim)


def _equal(one: bytes, other: bytes, *, verbatim: bool) -> bool:
    return identical(one, other) or (not verbatim and same_to_sinks(one, other))


def kept_by_others(
    editions: Mapping[str, Sequence[Edition]], held: Mapping[Ref, Version], *, verbatim: bool
) -> set[str]:
    """Products of which something is there that somebody else wrote, and that is not what the source says now: a job
    that writes over nothing refuses that.  Where it is the same, nothing is to be written; what is gone comes again.

    `held`: the last versions.
    """
    theirs = {ref: version.body for ref, version in held.items() if version.run is None and version.body is not None}
    return {
        key
        for key, all_of_it in editions.items()
        for ref in theirs.keys() & all_of_it[-1].keys()
        if not _equal(all_of_it[-1][ref], theirs[ref], verbatim=verbatim)
    }


def doubled(e: Evidence) -> Iterator[str]:
    for ref, versions in e.held.items():
        for one, two in itertools.pairwise(versions):
            again = one.body is two.body is None or (one.body and two.body and alike(e, one.body, two.body))
            if again and two.run is not None:
                yield f"{ref}: {two.run} wrote again what {one.run} had written"


def out_of_order(e: Evidence) -> Iterator[str]:
    """Each resource's versions follow the source's order; one that says what no edition ever said is wrong as well, and
    so is what comes again, or goes, without a cause."""
    for ref, versions in e.held.items():
        if tellers := _tellers(e, ref):
            shared = ref.type == "Organization" or len(tellers) > 1  # said by several products, in no common order
            yield from (_unsaid(e, ref, versions) if shared else _astray(e, ref, versions, tellers[0]))
        elif e.alone and any(v.run is not None for v in versions):
            yield f"{ref}: nothing at the source ever made it"


def _tellers(e: Evidence, ref: Ref) -> list[str]:
    return [key for key, editions in e.editions.items() if any(ref in edition for edition in editions)]


def _astray(e: Evidence, ref: Ref, versions: Sequence[Version], teller: str) -> Iterator[str]:
    """What one product says: each version is a later edition than the one before, and a removal is one without it."""
    said: list[bytes | None] = []
    for edition in e.editions[teller]:
        if not said or said[-1] != edition.get(ref):
            said.append(edition.get(ref))
    at = 0
    for version in versions:
        if version.run is None:
            at = max(0, at - 1)  # somebody else's: what was there may come again
            continue
        later = next((n for n in range(at, len(said)) if _says(e, said[n], version)), None)
        if later is None:
            what = "is removed, and the source has it" if _removes(e, version) else "says what the source said before"
            yield f"{ref}: a version of {version.run} {what}, or never"
        at = at if later is None else later + 1


def _says(e: Evidence, said: bytes | None, version: Version) -> bool:
    if said is None or version.body is None:
        return said is None and _removes(e, version)
    return alike(e, said, version.body)


def _removes(e: Evidence, version: Version) -> bool:
    return version.body is None or is_retired(version.body)


def _unsaid(e: Evidence, ref: Ref, versions: Sequence[Version]) -> Iterator[str]:
    """What several say: each version is what one of them said, and it goes no oftener than one of them let go of it."""
    told = [edition[ref] for editions in e.editions.values() for edition in editions if ref in edition]
    for version in versions:
        if version.run is None or _removes(e, version):
            continue
        if not any(version.body and alike(e, said, version.body) for said in told):
            yield f"{ref}: a version of {version.run} says what the source never said"
    left = sum(
        ref in one and ref not in two for editions in e.editions.values() for one, two in itertools.pairwise(editions)
    )
    removals = sum(v.run is not None and _removes(e, v) for v in versions)
    if removals > left and e.alone and not e.tampered:
        yield f"{ref} was removed {removals} times, and the source let go of it {left} times"


def strangers(e: Evidence) -> Iterator[str]:
    """Versions of nobody's, where nobody else was at the server, and of runs that never were."""
    ran = {ended.run for ended in e.runs}
    for ref, versions in e.held.items() if e.alone else ():
        for version in versions:
            if version.run is None and not e.tampered:
                yield f"{ref}: a version is nobody's, and nobody else was at the server"
            if version.run is not None and version.run not in ran:
                yield f"{ref}: a version is of {version.run}, which never ran"


def removed_otherwise(e: Evidence) -> Iterator[str]:
    """What was to be retired is retired, and nothing else about it changes; what was to be deleted is deleted."""
    for ref, versions in e.held.items() if e.removal else ():
        for one, two in itertools.pairwise(versions):
            if two.run is None or one.run is None or one.body is None:
                continue
            if two.body is None and e.removal != "delete" and can_be_retired(ref.type):
                yield f"{ref}: {two.run} deleted what was to be {e.removal}d"
            if two.body is None or is_retired(one.body) or not is_retired(two.body) or _told(e, ref, two.body):
                continue
            if e.removal != "retire":
                yield f"{ref}: {two.run} retired what was to be {e.removal}d"
            elif e.verbatim and not retires(one.body, two.body):
                yield f"{ref}: {two.run} retired it, and changed it"


def _told(e: Evidence, ref: Ref, body: bytes) -> bool:
    """The source itself says that it is over."""
    return any(alike(e, edition[ref], body) for some in e.editions.values() for edition in some if ref in edition)
