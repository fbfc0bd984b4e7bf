"""The generated register's life: which products change in a night, and what the change feed says of it.

A register is its seed, its size and how many changes each of its nights had: whoever replays these has the same one, so
several processes may serve it without speaking to one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random

from dev.cima.chance import dice, share
from dev.cima.numbers import MOST_PACKS
from dev.cima.products import MADRID, Facts, facts

FIRST_DAY = date(2026, 3, 2)
"""The day of night 0."""
USUAL = 45
"""Rows of a usual night."""

TEXTS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("ft", "prosp"), 26), (("prosp",), 14), (("ft",), 9), (("prosp", "otros"), 12), (("ft", "prosp", "otros"), 7),
    (("ft", "prosp", "matinf"), 4), (("ft", "matinf"), 1), (("prosp", "psum", "otros"), 1),
    (("comerc",), 5), (("estado",), 3), (("psum",), 6), (("notasSeguridad",), 2), (("matinf",), 2), (("fotos",), 2),
    (("otros",), 3), (("psum", "matinf"), 1),
)  # fmt: skip
"""Flags of a row of kind 3, and how often: those with texts as in recorded feeds of 2026, the others guessed."""

NEW, WITHDRAWN, MODIFIED = 1, 2, 3


@dataclass(slots=True)
class State:
    """What has become of a product since night 0.  `packs`: the places of those it has now."""

    packs: list[int]
    gone: bool = False
    suspended: int | None = None
    withdrawn: int | None = None
    versions: dict[int, int] = field(default_factory=dict)
    dated: dict[int, int] = field(default_factory=dict)
    marketed: bool = True
    drives: bool = False
    leaflet: bool = True
    photos: int = 0
    supply: int = 0
    notes: int = 0
    materials: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the feed, of a night."""

    product: int
    night: int
    kind: int
    flags: tuple[str, ...]
    early: bool  # in the batch's first minute


def first_state(seed: int, given: Facts) -> State:
    """A product at night 0, or on the night it is new."""
    product = given.product
    return State(
        packs=list(range(given.packs)),
        suspended=given.suspended,
        withdrawn=given.withdrawn,
        marketed=share(seed, "marketed", product) < 0.8,
        drives=given.kind["conduc"],
        photos=int(given.photos),
        supply=int(share(seed, "supply", product) < 0.02),
        notes=int(share(seed, "notes", product) < 0.03),
        materials=int(share(seed, "materials", product) < 0.12),
    )


class Life:
    """The register's nights so far.  What it holds: what changed, and nothing of the products that did not."""

    def __init__(self, seed: int, products: int, first_day: date = FIRST_DAY) -> None:
        self.seed, self.first, self.first_day = seed, products, first_day
        self.night, self.products = 0, products
        self.states: dict[int, State] = {}
        self.events: list[list[Event]] = [self._past(0)]
        self._past_rows = len(self.events[0])

    def state(self, product: int) -> State:
        """How a product is now; not to be written to."""
        return self.states.get(product) or first_state(self.seed, facts(self.seed, product))

    def exists(self, product: int) -> bool:
        known = self.states.get(product)
        return product < self.products and not (known is not None and known.gone)

    def alive(self) -> Iterator[int]:
        return (product for product in range(self.products) if self.exists(product))

    def day(self, night: int) -> date:
        return self.first_day + timedelta(days=night)

    def now(self) -> datetime:
        """The register's clock: noon of the present night's day."""
        return datetime.combine(self.day(self.night), datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)

    def stamp(self, event: Event) -> int:
        """The feed's milliseconds: 08:55 or 08:56 in Madrid."""
        day = self.day(event.night)
        at = datetime(day.year, day.month, day.day, 8, 55 if event.early else 56, tzinfo=MADRID)
        return int(at.timestamp()) * 1000

    def pass_night(self, changes: int = USUAL) -> Sequence[Event]:
        """Let a night pass in which so many products change: at most all there are."""
        self.night += 1
        rng = dice(self.seed, "night", self.night)
        taken = set[int]()
        events = []
        for n in range(min(changes, self.products)):
            event = self._event(rng, taken, early=2 * n < changes)
            taken.add(event.product)
            events.append(event)
        self.events.append(events)
        return events

    def _event(self, rng: Random, taken: set[int], *, early: bool) -> Event:
        chance = rng.random()
        if chance < 0.03:
            return self._new(early=early)
        product = self._chosen(rng, taken, back=chance < 0.05)
        state = self.states.setdefault(product, self.state(product))
        if state.gone:
            return self._returned(product, state, early=early)
        if 0.05 < chance < 0.08 and state.withdrawn is None:
            return self._withdrawn(rng, product, state, early=early)
        return self._modified(rng, product, state, early=early)

    def _chosen(self, rng: Random, taken: set[int], *, back: bool) -> int:
        """A product that changes: one that is withdrawn only where it is to come `back`, or no other is left."""
        away = [p for p, state in self.states.items() if p not in taken and (state.gone or state.withdrawn)]
        if back and away:
            return rng.choice(away)
        start = rng.randrange(self.products)
        free = (p for p in self._from(start) if p not in taken)
        return next((p for p in free if self._lasts(p)), away[0] if away else start)

    def _from(self, start: int) -> Iterator[int]:
        return ((start + step) % self.products for step in range(self.products))

    def _lasts(self, product: int) -> bool:
        state = self.state(product)
        return not state.gone and state.withdrawn is None

    def _new(self, *, early: bool) -> Event:
        product, self.products = self.products, self.products + 1
        self.states[product] = first_state(self.seed, facts(self.seed, product))
        self.states[product].suspended = self.states[product].withdrawn = None
        return Event(product, self.night, NEW, (), early)

    def _returned(self, product: int, state: State, *, early: bool) -> Event:
        state.gone, state.withdrawn = False, None
        return Event(product, self.night, NEW, (), early)

    def _withdrawn(self, rng: Random, product: int, state: State, *, early: bool) -> Event:
        """Half stay with the day of their withdrawal, the others are not known any more (204)."""
        if rng.random() < 0.5:
            state.gone = True
        state.withdrawn = self._midnight()
        return Event(product, self.night, WITHDRAWN, (), early)

    def _modified(self, rng: Random, product: int, state: State, *, early: bool) -> Event:
        given = facts(self.seed, product)
        if state.withdrawn is not None:
            flags: tuple[str, ...] = ("estado",)
        else:
            flags = rng.choices([flags for flags, _ in TEXTS], [often for _, often in TEXTS])[0]
            if not given.segmented and {"ft", "prosp"} & set(flags):
                flags = ("otros",)
        event = Event(product, self.night, MODIFIED, flags, early)
        for flag in flags:
            self._happens(rng, given, state, flag, self.stamp(event))
        return event

    def _happens(self, rng: Random, given: Facts, state: State, flag: str, stamp: int) -> None:
        if flag in ("ft", "prosp"):
            self._rewritten(rng, given, state, 1 if flag == "ft" else 2, stamp)
        elif flag == "comerc":
            state.marketed = not state.marketed
        elif flag == "estado":
            back = state.suspended is not None or state.withdrawn is not None
            state.suspended, state.withdrawn = (None if back else self._midnight()), None
        elif flag == "psum":
            state.supply += 1
        elif flag == "notasSeguridad":
            state.notes += 1
        elif flag == "matinf":
            state.materials = (state.materials + 1) % 4
        elif flag == "fotos":
            state.photos += 1
        elif rng.random() < 0.4 or len(state.packs) == 1:
            state.packs.append((state.packs[-1] + 1) % MOST_PACKS)
            state.packs = list(dict.fromkeys(state.packs))
        elif rng.random() < 0.5:
            state.packs.pop(0)
        else:
            state.drives = not state.drives

    def _rewritten(self, rng: Random, given: Facts, state: State, kind: int, stamp: int) -> None:
        if kind == 2 and 2 in given.segmented and rng.random() < 0.02:
            state.leaflet = not state.leaflet
        if kind in given.segmented:
            state.versions[kind] = state.versions.get(kind, 0) + 1
        state.dated[kind] = stamp

    def _midnight(self) -> int:
        day = self.day(self.night)
        return int(datetime(day.year, day.month, day.day, tzinfo=MADRID).timestamp()) * 1000

    def feed(self, since: date, first: int, last: int) -> tuple[int, list[Event]]:
        """Rows from a day on, newest first: how many there are, and those from one place to another."""
        oldest = (since - self.first_day).days
        live = [event for night in range(self.night, max(oldest, 1) - 1, -1) for event in reversed(self.events[night])]
        total = len(live) + self._past_rows * max(0, 1 - oldest)
        some = live[first:last]
        place = max(first, len(live))
        while place < min(last, total):
            back, row = divmod(place - len(live), self._past_rows)
            some += (found := self._past(-back)[row : row + last - place])
            place += len(found)
        return total, some

    def _past(self, night: int) -> list[Event]:
        """The rows of a night before the first: of texts alone, and their effects are in what night 0 holds."""
        rng = dice(self.seed, "past", night)
        some = rng.sample(range(self.first), min(USUAL, max(1, self.first // 20)))
        kinds = [flags for flags, _ in TEXTS[:6]]
        return [Event(product, night, MODIFIED, rng.choice(kinds), False) for product in some]
