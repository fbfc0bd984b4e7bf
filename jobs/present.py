"""What a sink holds now of what is remembered: asked where it can be, and said where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobs.config.load import Configuration, Reach, load_configuration
from jobs.looking import Figures, Where
from jobs.wiring import Asked, hastily, make_sink, new_run_id, source_class, target
from store.handle import Stored
from tsi_fetch.clock import StopSignal
from tsi_fetch.differences import Entry, difference, has_digest
from tsi_fetch.errors import Exit, SettingError, TsiFetchError
from tsi_fetch.fhir.tokens import NotJson, parse
from tsi_fetch.ports import Sink, Versioned
from tsi_fetch.words import AWAITED, Held, Known, Ref, State

BODIES = 20
"""Bodies that are read together."""

VERSIONS = 10
"""Versions of a resource that are told of."""

AS_WRITTEN, NOT_THERE, THERE = "as written", "not there", "there"
"""Beside the kinds of `tsi_fetch.differences`: in step; nothing there, and nothing should be; there, and of somebody
who was never written over."""


@dataclass(frozen=True, slots=True)
class Present:
    """What the sink holds of a ref.  `verdict`: None where it was not asked, or could not be.

    `content`: True where its content is that which was written, None where that was not compared or the server may
    have spelt it otherwise.
    """

    asked: bool
    verdict: str | None = None
    version: str | None = None
    run: str | None = None
    ours: bool = False
    content: bool | None = None
    updated: str | None = None
    trouble: str = ""

    def to_json(self) -> Figures:
        return {
            "asked": self.asked,
            "verdict": self.verdict,
            "version": self.version,
            "same_content": self.content,
            "written_by_run": self.run,
            "written_by_us": self.ours,
            "last_updated": self.updated,
            "trouble": self.trouble or None,
        }


@dataclass(frozen=True, slots=True)
class Facts:
    """What the job file tells of a job's source: its mapping version today, and where a row can be read."""

    mapping: int | None = None
    where: Callable[[str], Sequence[str]] = field(default=lambda key: ())

    def urls(self, key: str) -> list[str]:
        return list(self.where(key))


Wanted = Sequence[tuple[Ref, Known | None, bool]]
"""Refs, with what is remembered of them, and whether any scope holds them."""


class Asker:
    """Opens each sink once.  What keeps it from one is noted in `troubles`, once, and raised never."""

    def __init__(self, where: Where, stop: StopSignal, *, offline: bool) -> None:
        self._where, self._stop, self._offline = where, stop, offline
        self._stack = ExitStack()
        self._sinks: dict[tuple[str, str, str], Sink | str] = {}
        self._facts: dict[str, Facts] = {}
        self.troubles: list[Figures] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    # -- the source

    def facts(self, job: str) -> Facts:
        """Nothing of a job that the file does not have any more, or whose source is not set here."""
        if job not in self._facts:
            self._facts[job] = self._read_facts(job)
        return self._facts[job]

    def _read_facts(self, job: str) -> Facts:
        try:
            configuration = self._configuration(job, frozenset())
            facts, (_, options) = source_class(configuration, job), configuration.source(job)
        except TsiFetchError as e:
            self.note("source", job, e)
            return Facts()
        urls: Any = getattr(facts, "urls", None)
        return Facts(facts.mapping, (lambda key: urls(options, key)) if urls else (lambda key: ()))

    def _configuration(self, job: str, sinks: frozenset[str]) -> Configuration:
        reach = Reach(frozenset({job}), sinks, ())
        configuration = load_configuration(self._where.config, reach=reach, secrets=self._where.secrets)
        configuration.job(job)
        return configuration

    # -- the sink

    def ask(self, stored: Stored, job: str, sink: str, wanted: Wanted, *, bodies: bool) -> Mapping[Ref, Present]:
        """What this sink holds of these.  `bodies`: compare the content, too, where the version is the remembered."""
        if self._offline:
            return {ref: Present(asked=False) for ref, _, _ in wanted}
        if not wanted:
            return {}
        opened = self._opened(stored, job, sink, sorted({ref.type for ref, _, _ in wanted}))
        if isinstance(opened, str):
            return {ref: Present(asked=True, trouble=opened) for ref, _, _ in wanted}
        try:
            return self._asked(stored, opened, job, sink, wanted, bodies=bodies)
        except TsiFetchError as e:
            trouble = self.note("sink", sink, e)
            return {ref: Present(asked=True, trouble=trouble) for ref, _, _ in wanted}

    def versions(self, stored: Stored, job: str, sink: str, ref: Ref) -> list[Figures] | None:
        """The last versions of a resource, the latest first; None where the sink keeps none, or could not be asked."""
        opened = None if self._offline else self._opened(stored, job, sink, [ref.type])
        if not isinstance(opened, Versioned):
            return None
        book, anybody = stored.reader(job, sink), ref.type in self._shared(job)
        try:
            found = opened.history(ref, VERSIONS)
        except TsiFetchError as e:
            self.note("sink", sink, e)
            return None
        if found is None:
            return None
        return [
            {
                "version": one.version,
                "at": one.at,
                "run": one.run,
                "written_by_us": bool(one.run) and book.ran(one.run or "", anybody=anybody),
                "deleted": one.deleted,
            }
            for one in found
        ]

    def _asked(
        self, stored: Stored, opened: Sink, job: str, sink: str, wanted: Wanted, *, bodies: bool
    ) -> Mapping[Ref, Present]:
        book = stored.reader(job, sink)
        held = dict(opened.find([ref for ref, _, _ in wanted]))
        unclear = [ref for ref, known, _ in wanted if (h := held.get(ref)) and (bodies or _differs(known, h))]
        for start in range(0, len(unclear), BODIES):
            self._stop.check()
            held |= opened.find(unclear[start : start + BODIES], bodies=True)
        shared = self._shared(job)

        def ours(there: Held | None) -> bool:
            return bool(there and there.run and book.ran(there.run, anybody=there.ref.type in shared))

        return {ref: _present(known, by, there, ours(there)) for ref, known, by in wanted for there in [held.get(ref)]}

    def _shared(self, job: str) -> frozenset[str]:
        return self._configuration(job, frozenset()).job(job).shared

    def _opened(self, stored: Stored, job: str, sink: str, types: Sequence[str]) -> Sink | str:
        """The sink, or why it cannot be asked."""
        key = (stored.store_id, job, sink)
        if key not in self._sinks:
            try:
                self._sinks[key] = self._open(stored, job, sink, types)
            except TsiFetchError as e:
                self._sinks[key] = self.note("sink", sink, e)
        return self._sinks[key]

    def _open(self, stored: Stored, job: str, sink: str, types: Sequence[str]) -> Sink:
        """By its name in the job file, or the folder that a run was given in its place."""
        configuration = self._configuration(job, frozenset({sink}))
        if sink not in configuration.settings.sinks and not Path(sink).is_absolute():
            raise SettingError(f"the job file has no sink {sink!r}", "name the job file that has it with --config")
        to = target(configuration, Asked(job, store=stored.url, sink=sink), None)
        clock = stored.clock(self._stop)
        hasty = replace(to, options=hastily(to.options))
        made = make_sink(hasty, clock, run_id=new_run_id(clock.now()), job=job, store_id=stored.store_id)
        self._stack.callback(made.close)
        made.open(types)
        return made

    def note(self, part: str, name: str, e: TsiFetchError) -> str:
        """A job or sink that the file does not have is a mistake of the file, not of the command line."""
        code = Exit.SETTING if e.exit_code is Exit.USAGE else e.exit_code
        trouble = {"part": part, "name": name, "code": int(code), "why": e.message, "hint": e.hint}
        if trouble not in self.troubles:
            self.troubles.append(trouble)
        return e.message


def _differs(known: Known | None, held: Held) -> bool:
    return known is not None and (known.state is State.DELETED or held.version != known.version)


def _present(known: Known | None, held_by_scope: bool, held: Held | None, ours: bool) -> Present:
    version = held.version if held and not held.deleted else None
    there = Present(True, version=version, run=held.run if held else None, ours=ours, updated=_updated(held))
    if known is None or known.digest == AWAITED:
        return replace(there, verdict=THERE if version else NOT_THERE)
    same = True if held and held.body is not None and has_digest(held.body, known.digest) else None
    lean = held and replace(held, body=None) if same is None and version == known.version else held
    found = difference(Entry(0, known, held_by_scope), lean, ours=ours)
    if found is None:
        return replace(there, verdict=AS_WRITTEN if version else NOT_THERE, content=same)
    return replace(there, verdict=found.kind.value, content=same, ours=found.ours)


def _updated(held: Held | None) -> str | None:
    """When the server says that it was written last."""
    try:
        resource = parse(held.body) if held and held.body else {}
    except NotJson:
        return None
    meta = resource.get("meta") if isinstance(resource, dict) else None
    updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return updated if isinstance(updated, str) else None
