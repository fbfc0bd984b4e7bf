"""Where a resource, or a row of the source, came from: what the store knows of it, and what its sink holds now."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.looking import Figures, Where, trouble_figures
from jobs.present import Asker, Present
from jobs.reporting.essence import essence
from store.explaining import MOST_COUNTED, MOST_REFS, places, trace_key, trace_ref
from store.handle import NoStore, Stored, open_store
from store.traces import KeyTrace, Made, Mention, RefTrace, Removal, RunBrief, ScopeRow, SetAside, Waiter
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import Exit, TsiFetchError, worst
from tsi_fetch.words import AWAITED, DOUBTED, FORGOTTEN, Known, Order, Ref

_REF = re.compile(r"(?:https?://\S+/)?([A-Z][A-Za-z]{0,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/\s]+)?/?")
"""`Type/id`, alone or at the end of a server's URL."""

_DIGESTS = {DOUBTED: "in doubt", FORGOTTEN: "forgotten", AWAITED: "never written"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_A_TIME = 10**15
"""Orders above are instants (microseconds; 2001 and later), below version numbers."""


@dataclass(frozen=True, slots=True)
class Explained:
    """`found`: a block for each job or sink that knows the thing.  `looked`: for what, and in which stores."""

    asked: str
    found: list[Figures]
    looked: list[Figures]
    troubles: list[Figures]

    @property
    def exit_code(self) -> int:
        """65 where nothing is known of it; else that of what kept a store or sink from being asked."""
        unasked = {Exit(t["code"]) for t in self.troubles if t["part"] != "source"}
        return int(worst(unasked | (set() if self.found else {Exit.QUARANTINE})))

    def to_json(self) -> Figures:
        return {
            "asked": self.asked,
            "exit_code": self.exit_code,
            "found": [{"essence": essence(block), **block} for block in self.found],
            "looked_in": self.looked,
            "troubles": self.troubles,
        }


def explain(where: Where, subject: str, job: str | None, stop: StopSignal, *, offline: bool) -> Explained:
    """Look for a resource (`Type/id`, or its URL at a server) and for a row's key, in the stores of all jobs or one.

    Nothing is written; a sink that cannot be asked is told among the troubles, beside what the store knows.
    """
    found: list[Figures] = []
    looked: list[Figures] = []
    with ExitStack() as stack:
        asker = stack.enter_context(Asker(where, stop, offline=offline))
        for shown, stored in _stores(where, job, stack, asker):
            known_places = places(stored, job) if stored else []
            looked.append({"store": shown, "there": stored is not None, "jobs": sorted({p.job for p in known_places})})
            if stored is None:
                continue
            if match := _REF.fullmatch(subject):
                for trace in trace_ref(stored, Ref(match[1], match[2]), known_places):
                    found.append(_resource(stored, trace, asker))
            for row in trace_key(stored, subject, known_places):
                found.append(_row(stored, row, asker))
    return Explained(subject, found, looked, asker.troubles)


def _stores(where: Where, job: str | None, stack: ExitStack, asker: Asker) -> Iterator[tuple[str, Stored | None]]:
    """Each store once, as it may be shown; None where no run has made it yet, or it cannot be asked."""
    configuration = where.configuration(job)
    if where.store:
        stored = stack.enter_context(open_store(where.store))
        yield stored.url, stored
        return
    urls = {configuration.store_of(name).url for name in configuration.settings.jobs if job in (None, name)}
    for url in sorted(urls, key=str):
        try:
            stored = stack.enter_context(open_store(url.reveal()))
            yield stored.url, stored
        except NoStore:
            yield str(url), None
        except TsiFetchError as e:  # the other stores may know it
            asker.note("store", str(url), e)
            yield str(url), None


# -- a resource


def _resource(stored: Stored, trace: RefTrace, asker: Asker) -> Figures:
    known = trace.known
    job = known.job if known else _claimants(trace)[0]
    holder = next(
        (s.job for s in sorted(trace.scopes, key=lambda s: s.job != job)), job
    )  # a shared one's may be another
    rows = list(dict.fromkeys(s.row for s in trace.scopes if s.job == holder))
    facts, source = asker.facts(job), asker.facts(holder)
    held = any(trace.scopes)
    present = asker.ask(stored, job, trace.sink, [(trace.ref, known, held)], bodies=True)[trace.ref]
    return {
        "kind": "resource",
        "resource": str(trace.ref),
        "job": job,
        "sink": trace.sink,
        "store": stored.url,
        **_memory(known),
        "mapping_today": facts.mapping,
        "run": _brief(trace.wrote),
        "runs_since": None if trace.since is None else trace.since.runs,
        "last_run": None if trace.since is None else _brief(trace.since.last),
        "held_by": holder,
        "rows": rows,
        "urls": [url for row in rows for url in source.urls(row)],
        "scopes": [_scope(s) for s in trace.scopes],
        "more_scopes": trace.more_scopes,
        "scopes_counted": trace.more_scopes < MOST_COUNTED,
        "now": present.to_json(),
        "versions": asker.versions(stored, job, trace.sink, trace.ref),
        "begun": trace.noted,
        "waits": [_waiter(w) for w in trace.waits],
        "to_be_removed": [_leaving(r) for r in trace.removals],
        "quarantine": [trouble_figures(t) for t in trace.troubles],
        "quarantine_searched": trace.searched,
        "set_aside": [_aside(a) for a in trace.aside],
        "history": _history({trace.wrote: "wrote what is remembered"} if trace.wrote else {}, trace),
    }


def _claimants(trace: RefTrace) -> list[str]:
    """Jobs that spoke of what nobody ever wrote."""
    return [w.job for w in trace.waits] + [t.job for t in trace.troubles]


def _memory(known: Known | None) -> Figures:
    """What is remembered of it."""
    if known is None:
        nothing: Figures = dict.fromkeys(("state", "version", "order", "order_as_time", "digest", "belief", "mapping"))
        return nothing
    return {
        "state": known.state.value,
        "version": known.version,
        "order": known.order,
        "order_as_time": _as_time(known.order),
        "digest": known.digest.hex(),
        "belief": _DIGESTS.get(known.digest),
        "mapping": known.mapping,
    }


def _history(wrote: Mapping[RunBrief, str], trace: RefTrace | KeyTrace) -> list[Figures]:
    """What is recorded of runs, the latest first; the store keeps of each resource its last write alone."""
    events: list[tuple[datetime, Figures]] = []
    for run, what in wrote.items():
        events.append((run.started, {"run": run.id, "replay": run.replay, "what": what}))
    for t in trace.troubles:
        what = f"quarantine {t.id}: {t.fault.code}" + (f", closed since: {t.why}" if t.closed else "")
        events.append((t.last, {"run": t.run, "replay": None, "what": what}))
    lying = {(t.run, t.fault.code) for t in trace.troubles}
    events += [_mention(m) for m in trace.mentions if (m.run.id, m.code) not in lying]
    return [{"at": _iso(at), **event} for at, event in sorted(events, key=lambda e: e[0], reverse=True)]


def _mention(mention: Mention) -> tuple[datetime, Figures]:
    what = f"could not use {mention.key}: {mention.code}"
    return mention.run.started, {"run": mention.run.id, "replay": mention.run.replay, "what": what}


# -- a row


def _row(stored: Stored, trace: KeyTrace, asker: Asker) -> Figures:
    facts = asker.facts(trace.job)
    asked = [(m.known.ref, m.known, True) for m in trace.made]
    now = asker.ask(stored, trace.job, trace.sink, asked, bodies=False)
    return {
        "kind": "row",
        "key": trace.key,
        "job": trace.job,
        "sink": trace.sink,
        "store": stored.url,
        "mapping_today": facts.mapping,
        "urls": facts.urls(trace.key),
        "scopes": [_scope(s) for s in trace.scopes],
        "resources": [_made(m, now) for m in trace.made],
        "more_resources": trace.more,
        "most_resources": MOST_REFS,
        "waits": [_waiter(w) for w in trace.waits],
        "to_be_removed": [_leaving(r) for r in trace.removals],
        "quarantine": [trouble_figures(t) for t in trace.troubles],
        "still_to_be_read": list(trace.work),
        "set_aside": [_aside(a) for a in trace.aside],
        "history": _history(_writers(trace.made), trace),
    }


def _writers(made: Sequence[Made]) -> dict[RunBrief, str]:
    """The runs that wrote what is remembered of a row's resources."""
    counted = Counter(m.wrote for m in made if m.wrote)
    return {run: f"wrote what is remembered of {count:,} of them" for run, count in counted.items()}


def _made(made: Made, now: Mapping[Ref, Present]) -> Figures:
    known = made.known
    return {
        "resource": str(known.ref),
        "job": known.job,
        **_memory(known),
        "run": _brief(made.wrote),
        "now": now[known.ref].to_json(),
    }


# -- what both have


def _scope(scope: ScopeRow) -> Figures:
    figures = {"job": scope.job, "scope": scope.key, "key": scope.row}
    return {**figures, "mapping": scope.mapping, "in_doubt": scope.doubted}


def _waiter(waiter: Waiter) -> Figures:
    wait = waiter.wait
    names = {"job": waiter.job, "resource": str(wait.ref), "key": wait.row}
    return {**names, "waits_for": [str(ref) for ref in sorted(wait.missing)], "since": _iso(wait.since)}


def _leaving(removal: Removal) -> Figures:
    told = {"resource": str(removal.ref), "job": removal.job, "scope": removal.scope, "key": removal.row}
    return {**told, "accepted": removal.accepted, "refused": removal.refused, "decided": _iso(removal.decided)}


def _aside(aside: SetAside) -> Figures:
    told = {"key": aside.key, "backfill": aside.list, "begun": _iso(aside.created)}
    return {**told, "attempts": aside.attempts, "reason": aside.reason}


def _brief(run: RunBrief | None) -> Figures | None:
    if run is None:
        return None
    return {
        "run": run.id,
        "job": run.job,
        "started": _iso(run.started),
        "ended": _iso(run.ended) if run.ended else None,
        "outcome": run.outcome,
        "replay": run.replay,
        "list": run.list,
    }


def _as_time(order: Order | None) -> str | None:
    if order is None or not _A_TIME < order < 100 * _A_TIME:
        return None
    return (_EPOCH + timedelta(microseconds=order)).isoformat(timespec="milliseconds")


def _iso(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")
