"""One load, from the register's start to the last clean run: children that are interrupted while it changes."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from dev.cima.generated import Generated, Settings
from dev.cima.wire import GeneratedProcess
from dev.load import children
from dev.load.kept import JOB, SINK, as_recorded
from dev.load.places import Place
from dev.load.plan import Act, acts
from store.handle import open_store
from store.queries import runs
from store.upgrade import state
from tests.faults.seen import Ended

MOST_CLEAN = 12
"""Runs that nothing disturbs, within which a load must be done."""
SMALL = 1_000
"""Products, below which a night's leavings are a large share of a type: the vanish guard would be asked about."""
INCOMPLETE = ("listing was incomplete", "no listing of the source has been complete")
"""How a run says that rows may be missing, and --full is needed."""

_JOBS = """\
stores: {{main: {{url: "{store}"}}}}
sinks: {{{name}: {sink}}}
jobs:
  {job}:
    source: {{kind: cima, base_url: "{register}", rate: {rate}}}
    sink: {name}
    store: main
    schedule: "0 1 * * *"
    lease_expiry: {lease}s
"""


@dataclass(frozen=True)
class Asked:
    """What to load, and how it is disturbed.  Seconds: `patience`, that a run may ask for nothing; `lease`, until that
    of a killed one is free."""

    seed: int = 1
    products: int = 300
    interruptions: int = 10
    nights: int = 10
    changes: int = 45
    rate: float = 50
    text_bytes: int = 83_000
    etags: bool = False
    patience: float = 1_800
    lease: int = 15

    @property
    def settings(self) -> Settings:
        """Of the register; pages are so small that a small listing has several, too."""
        return Settings(
            seed=self.seed,
            products=self.products,
            page_size=min(200, max(5, self.products // 10)),
            etags=self.etags,
            text_bytes=self.text_bytes,
            changes=self.changes,
        )

    def arguments(self) -> list[str]:
        """Those of the register's process."""
        made = self.settings
        named = {"seed": made.seed, "products": made.products, "page-size": made.page_size}
        named |= {"text-bytes": made.text_bytes, "changes": made.changes}
        return [*(f"--{name}={value}" for name, value in named.items()), *(["--etag"] if self.etags else [])]


@dataclass
class Played:
    """What came of it.  `wrong`: of the runs themselves."""

    ends: list[Ended] = field(default_factory=list)
    usage: children.Usage = field(default_factory=children.Usage)
    interruptions: int = 0
    requests: int = 0
    nights: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Trial:
    """One load into one place."""

    def __init__(self, asked: Asked, place: Place, folder: Path) -> None:
        self._asked, self._place, self._folder = asked, place, folder
        self._dice = Random(f"{asked.seed} trial")
        self._acts: deque[Act] = deque()
        self._last: Any = {}
        self._recorded: set[str] = set()
        self._own: Generated | None = None
        self.played = Played()

    def play(self) -> Played:
        """All of it; the register ends with it."""
        begun = time.monotonic()
        given = self._asked
        self._acts.extend(acts(Generated(given.settings), given.seed, given.interruptions, given.nights))
        with GeneratedProcess(*given.arguments()) as self._register:
            self._write_jobs()
            self._register.call("POST", "shift?rows=3&at_page=3")
            try:
                while self._acts:
                    self._disturbed()
                self._to_its_end()
            except children.Stuck as e:
                self.played.wrong.append(str(e))
            told = self._register.call("GET", "")
        self.played.requests, self.played.nights = told["requests"], told["nights"]
        self.played.ends = as_recorded(self._place.store, self.played.ends)
        self.played.seconds = time.monotonic() - begun
        return self.played

    def register(self) -> Generated:
        """The same register, after the same nights, in this process."""
        if self._own is None:
            self._own = Generated(self._asked.settings)
            for _ in range(self.played.nights):
                self._own.pass_night()
        return self._own

    def _write_jobs(self) -> None:
        place, asked = self._place, self._asked
        named = {"store": place.store, "sink": place.sink, "register": self._register.base_url}
        text = _JOBS.format(**named, rate=asked.rate, lease=asked.lease, job=JOB, name=SINK)
        (self._folder / "jobs.yaml").write_text(text)

    def _disturbed(self) -> None:
        """A run in which things happen.  Where it ends before they do, they come sooner: the next runs are short."""
        before = len(self._acts)
        ran = self._run()
        if ran.told or not self._acts:
            return
        now, self._acts = self._requests(), deque(self._acts)
        if len(self._acts) == before and self._acts[0].what != "interruption":
            self._happens(self._acts.popleft())
        sooner = sorted(now + self._dice.randint(1, 40) for _ in self._acts)
        self._acts = deque(replace(act, at=at) for act, at in zip(self._acts, sooner, strict=True))

    def _to_its_end(self) -> None:
        """At the register's standstill, as a user would: again until it is done, and with --full where it says so."""
        for number in range(MOST_CLEAN):
            said = str(self._last.get("reasons")) + str(self._last.get("notes"))
            full = number > 0 and not self._last.get("remainder") and any(words in said for words in INCOMPLETE)
            code = self._run(*["--full"] if full else []).code
            said = str(self._last.get("reasons")) + str(self._last.get("notes"))
            if code == 0 and self._last.get("outcome") == "done" and not any(words in said for words in INCOMPLETE):
                return
        self.played.wrong.append(f"{MOST_CLEAN} runs that nothing disturbed were not enough")

    def _run(self, *options: str) -> children.Ran:
        accepted = ("--accept-vanish", str(SMALL)) if self._asked.products < SMALL else ()
        words = children.command(self._folder / "jobs.yaml", JOB, *accepted, *options)
        begun, before = time.monotonic(), self._requests()
        watch = children.Watch(self._requests, self._due, self._asked.patience)
        ran = children.run(words, self._folder / "out", self.played.usage, watch)
        self._note_end(ran)
        self._say(ran, time.monotonic() - begun, self._requests() - before)
        self.played.interruptions += ran.told is not None and ran.code not in (0, 65)
        allowed = _ends(ran)
        if ran.code not in allowed:
            self.played.wrong.append(f"{self.played.ends[-1].run} ended with {ran.code}: {self._last.get('reasons')}")
        return ran

    def _due(self, requests: int) -> signal.Signals | None:
        """Let happen what is due; what the run is to be told, which ends it."""
        while self._acts and self._acts[0].at <= requests:
            act = self._acts.popleft()
            if act.signal:
                return act.signal
            self._happens(act)
        return None

    def _happens(self, act: Act) -> None:
        self._register.call("POST", "night" if act.what == "night" else f"shift?rows={self._dice.randint(1, 7)}")

    def _requests(self) -> int:
        return int(self._register.call("GET", "")["requests"])

    def _note_end(self, ran: children.Ran) -> None:
        """What the run's record says; one that died before it could begin has none."""
        found: list[Any] = []
        if state(self._place.store) == "current":
            with open_store(self._place.store) as stored:
                found = [row.record for row in runs(stored, JOB, 5) if row.record.id not in self._recorded]
        self._recorded |= {record.id for record in found}
        self._last = dict(found[0].report, outcome=found[0].outcome) if found else {}
        if found:
            self.played.ends.append(Ended(found[0].id, ran.code, found[0].outcome, found[0].exit_code))
        else:
            self.played.ends.append(Ended("none", ran.code, None, None))

    def _say(self, ran: children.Ran, seconds: float, requests: int) -> None:
        how = f"{ran.told.name}, " if ran.told else ""
        why = json.dumps([reason["what"] for reason in self._last.get("reasons", ())], ensure_ascii=False)
        left = f", {self._last['remainder']} left" if self._last.get("remainder") else ""
        line = f"run {len(self.played.ends)}: {how}ended with {ran.code}, {seconds:.0f} s, {requests} requests{left}"
        print(line, why if why != "[]" else "", file=sys.stderr, flush=True)


def _ends(ran: children.Ran) -> set[int]:
    """How a run may end: as it was told, or well; not well (65) only for a listing that shifted, which it says."""
    well = {0, 65}
    if ran.told is None:
        return well
    by_itself = {signal.SIGTERM: 143, signal.SIGINT: 130}
    return well | {by_itself.get(ran.told, -ran.told)}
