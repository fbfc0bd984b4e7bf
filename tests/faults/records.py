"""What the records of runs say, against what happened: how they ended, what they wrote, how far they came.  Pure."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.faults.seen import Ended, Evidence, Written
from tsi_fetch.errors import Exit

OUTCOMES = {0: ("done", "partial"), 65: ("quarantined", "partial")}
"""What the record of a run says that ended so."""

INTERRUPTED: Mapping[int, int] = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}
"""How a process may end by itself that was asked to end, by the signal."""

COUNTED = ("created", "updated", "retired", "deleted")
"""Words of a report that mean a version at the sink."""

OVER = "updated or retired"
"""Both words together: of what is over it may be unclear who has said so."""


def as_it_ended(code: int, by: int, recorded: int | None) -> int:
    """The exit code of a process that the signal `by` met, which its record is held to.

    Hit between the end of its record and its own, it may end as one who was interrupted; its run has ended as the
    record says.  Any other code is its own, and the record has to say the same.
    """
    return recorded if recorded is not None and code == INTERRUPTED.get(by) else code


def false_ends(e: Evidence) -> Iterator[str]:
    """Records that say something else than the process did; a run that was killed has no good end, unless that was
    after its record was closed, and the record of one that was overtaken, or lost its store, has none at all."""
    for ended in e.runs:
        if ended.code == 75 and ended.outcome in ("lost", "running") and ended.recorded is None:
            if not ended.excused:
                yield f"{ended.run} ended with 75 and left its record open, and neither store nor lease was lost"
            continue
        if ended.code >= 0 and (ended.outcome is not None or ended.code in OUTCOMES) and ended.recorded != ended.code:
            yield f"{ended.run} ended with {ended.code}, and its record says {ended.recorded}"
        if ended.said in OUTCOMES and ended.outcome not in OUTCOMES[ended.said]:
            yield f"{ended.run} ended with {ended.code}, and is recorded as {ended.outcome}"
        if ended.outcome == "done" and ended.said != 0:
            yield f"{ended.run} ended with {ended.code}, and is recorded as done"


def false_reports(e: Evidence) -> Iterator[str]:
    """Reports that say another thing than the process, the sink and the store."""
    for ended in e.runs:
        yield from _miscounted(ended, e.written) if e.written is not None else ()
    if e.runs and e.runs[-1].recorded is not None:
        yield from _unlike_what_lies(e.runs[-1], e)
        yield from _ahead(e.runs[-1], e)


def _miscounted(ended: Ended, written: Sequence[Written]) -> Iterator[str]:
    """A run counts what it was told is written, and nothing that is not; one that has no end need not have counted.

    Of what nobody was told (an answer that was lost, or a killed run's request that was carried out late), it may have
    found out.
    """
    told, mine, unheard = (Counter[tuple[str, str]]() for _ in range(3))
    for w in written:
        for did in _words(w):
            mine[w.ref.type, did] += w.run == ended.run and w.answered
            unheard[w.ref.type, did] += not w.answered
    for name, actions in ended.report.get("counts", {}).items():
        told.update({(name, word): number for word, number in actions.items() if word in COUNTED})
    for name in {name for name, _ in told}:
        told[name, OVER] = told[name, "retired"] + told[name, "updated"]
    ambiguous = Counter(w.ref.type for w in written if w.ambiguous and w.run == ended.run and w.answered)
    by_itself = ended.said >= 0 and ended.recorded is not None
    for name, did in sorted(told.keys() | mine.keys()):
        some, unsure = (name, did), ambiguous[name] if did != OVER else 0
        least = mine[some] - unsure if by_itself else 0
        if not least <= told[some] <= mine[some] + unheard[some]:
            yield f"{ended.run} counted {told[some]} {' '.join(some)}, and the sink acknowledged {mine[some]} to it"


def _words(written: Written) -> list[str]:
    """What it may be counted as; what is updated or retired, also as one of both."""
    if written.ambiguous:
        return ["retired", "updated", OVER]
    return [written.did, OVER] if written.did in ("retired", "updated") else [written.did]


def _unlike_what_lies(ended: Ended, e: Evidence) -> Iterator[str]:
    """What the last run says that it put into quarantine is there from it, and nothing else."""
    if e.put_aside is None:
        return
    said = {trouble["key"] for trouble in ended.report.get("quarantined", ())}
    if ended.report.get("troubles", 0) < len(said):
        yield f"{ended.run} counted fewer troubles than it names"
    yield from (f"{ended.run} says that {name} lies in quarantine, and it does not" for name in said - e.put_aside)
    yield from (f"{ended.run} put {name} into quarantine, and does not say so" for name in e.put_aside - said)


def _ahead(ended: Ended, e: Evidence) -> Iterator[str]:
    """The watermark of the last run's report is the store's; one that failed may not have got so far as to look."""
    after = ended.report.get("watermark", {}).get("after")
    if e.today and e.watermark and e.watermark > e.today.isoformat():
        yield f"the watermark is at {e.watermark}, and the source is at {e.today}"
    if after != e.watermark and (after is not None or ended.said in OUTCOMES):
        yield f"{ended.run} says that the watermark is at {after}, and it is at {e.watermark}"


def not_refused(ends: list[Ended], written: list[Written], *, disturbed: bool) -> Iterator[str]:
    """What is wrong with runs on a server that is not the one they left: each ends with 77 and says why, writes
    nothing, and may end in another way only where it could not ask."""
    for end in ends:
        could_not_ask = end.code < 0 or (disturbed and end.code in (Exit.TRY_AGAIN, Exit.SETTING))
        if not could_not_ask and end.code != Exit.GUARDED:
            yield f"{end.run} ended with {end.code} on a server that was wiped or restored"
        if end.code == Exit.GUARDED and "marker" not in str(end.report.get("reasons")):
            yield f"{end.run} ended with 77 on a server that was wiped or restored, and does not say why"
        yield from (
            f"{end.run} wrote {w.ref} to a server that was wiped or restored" for w in written if w.run == end.run
        )
