"""A register that lives: products appear, change, vanish, come back, lose a package, share a company, are spoilt; what
becomes of them otherwise is in `standing_story`, and what is told beside them in `side_story`.

The checker knows from it what must be at the sink: each product in all its editions, mapped by the job's own mapping,
from a register that nothing disturbs.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from dev.cima_server import FeedOrder, Register
from sources.cima.feed import SIDE_FLAGS
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tests.faults.checker import Edition, RowSeen
from tests.faults.side_story import SIDE_ACTS
from tests.faults.standing_story import STANDING_ACTS
from tsi_fetch.clock import SystemClock
from tsi_fetch.http.limit import SteadyPace
from tsi_fetch.words import Ref, Upsert

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"
COMPANIES = ("LABORATORIO UNO, S.A.,", "LABORATORIO DOS, S.L.,", "LABORATORIO TRES")
REFUSED = "PROHIBIDO"
"""In a name: what the server never takes."""

NEW, WITHDRAWN, MODIFIED = 1, 2, 3  # tipoCambio
ORDERS: tuple[FeedOrder, ...] = ("descending", "descending", "ascending", "unsorted")


class RegisterStory:
    """A register of `size` products made from the recorded ones, and what has happened to it.

    Products are numbered from `first`, and companies are named after it.  `date`: where its clock stands, until
    somebody sets it; None for the real time.
    """

    def __init__(self, dice: random.Random, size: int, first: int, date: datetime | None = None) -> None:
        self.dice = dice
        self._models = _models()
        self.register = Register(page_size=self.dice.choice([2, 3, 200]), date=date)
        self.register.feed_order = self.dice.choice(ORDERS)
        self.register.feed_seed = self.dice.randint(0, 9)
        self.editions: dict[str, list[Edition]] = {}
        self.feed: list[RowSeen] = []
        self.counts: Counter[str] = Counter()
        """What has happened, by name."""
        self.spoilt: set[str] = set()
        self.refused: set[str] = set()
        self.hidden: dict[str, Any] = {}
        """Products of which the register says tonight that it has none, without a row of the feed."""
        self._were: dict[str, dict[str, str]] = {}
        """Of products that changed, the last to change at the end: name and company before."""
        self._gone: dict[str, Any] = {}
        self._lost: dict[str, list[Any]] = {}
        self.lost_documents: dict[str, list[Any]] = {}
        self._scopes: dict[Ref, str] = {}
        self._told = 0
        self._next = first
        self._stamp: int | None = None
        self._first = first
        self._companies = [f"{company} {first}" for company in COMPANIES]
        for _ in range(size):
            self._appear(long_ago=self.dice.random() < 0.5)

    def night(self) -> list[str]:
        """Some things happen; their names."""
        found = ["what was hidden is found"] if self.find_the_hidden() else []
        acts = self.dice.choices(list(ACTS), weights=[ACTS[name][0] for name in ACTS], k=self.dice.randint(0, 5))
        return found + [name for name in acts if self.act(name)]

    def act(self, name: str) -> bool:
        """One of `ACTS` happens; False where nothing is as it must be for that."""
        happened = ACTS[name][1](self)
        self.counts[f"a product {name}"] += happened
        return happened

    def find_the_hidden(self) -> bool:
        """A night begins: what was hidden in the last is there again, and the feed says so."""
        self._stamp = None
        found, self.hidden = self.hidden, {}
        for key, product in found.items():
            self.register.products[key] = product
            self._tell(key, NEW)
        return bool(found)

    @property
    def never(self) -> set[Ref]:
        """Resources that the server never takes as they are now."""
        now = [self.editions[key][-1] for key in self.refused]
        return {ref for edition in now for ref, body in edition.items() if REFUSED.encode() in body}

    def number(self) -> int:
        """Another one each time."""
        self._told += 1
        return self._told

    # what happens

    def _appear(self, *, long_ago: bool = False) -> bool:
        """`long_ago`: the feed does not say so any more, only the listing does."""
        model = self.dice.choice(sorted(self._models.products))
        key = str(self._next)
        self._next += 1
        product = copy.deepcopy(self._models.products[model])
        product["nregistro"], product["labtitular"] = key, self.dice.choice(self._companies)
        if representative := product.get("labcomercializador"):
            product["labcomercializador"] = f"{representative} {self._first}"
        for n, pack in enumerate(product.get("presentaciones", [])):
            presentation = copy.deepcopy(self._models.presentations.get(pack["cn"]))
            pack["cn"] = f"{key}{n}"
            if presentation:
                presentation["cn"], presentation["nregistro"] = pack["cn"], key
                self.register.presentations[pack["cn"]] = presentation
        for kind in (1, 2):
            if (kind, model) in self._models.contents:
                self.register.contents[kind, key] = copy.deepcopy(self._models.contents[kind, model])
        self.register.products[key] = product
        if long_ago:
            self._become(key)
        else:
            self._tell(key, NEW)
        return True

    def _change(self) -> bool:
        return self._to_some(
            lambda product: product.update(nombre=f"{product['nombre'][:60]} {self.dice.randint(0, 3)}")
        )

    def _take_back(self) -> bool:
        """The last change that can be: it is as it was before."""
        some = [key for key in self._were if key in self.register.products and key not in self.spoilt]
        if not some:
            return False
        self.register.products[some[-1]].update(self._were.pop(some[-1]))
        self._tell(some[-1], MODIFIED)
        return True

    def _change_of_company(self) -> bool:
        return self._to_some(lambda product: product.update(labtitular=self.dice.choice(self._companies)))

    def _lose_a_package(self) -> bool:
        some = [key for key, p in self.register.products.items() if p.get("presentaciones")]
        if not some:
            return False
        key = self.dice.choice(some)
        self._lost.setdefault(key, []).append(self.register.products[key]["presentaciones"].pop())
        self._tell(key, MODIFIED)
        return True

    def _find_a_package(self) -> bool:
        some = [key for key, lost in self._lost.items() if lost and key in self.register.products]
        if not some:
            return False
        key = self.dice.choice(some)
        self.register.products[key].setdefault("presentaciones", []).append(self._lost[key].pop())
        self._tell(key, MODIFIED)
        return True

    def _vanish(self) -> bool:
        if len(self.register.products) < 2:
            return False
        key = self.dice.choice(sorted(self.register.products))
        self._gone[key] = self.register.products.pop(key)
        self.spoilt.discard(key)
        self._tell(key, WITHDRAWN)
        return True

    def _most_vanishes(self) -> bool:
        """More than half at once: what a vanish guard is for."""
        some = len(self.register.products) // 2 + 1
        return some > 2 and all([self._vanish() for _ in range(some)])

    def _hide(self) -> bool:
        some = sorted(key for key in self.register.products if key not in self.spoilt | self.refused)
        if len(some) < 2:
            return False
        key = self.dice.choice(some)
        self.hidden[key] = self.register.products.pop(key)
        self.editions[key].append({})
        return True

    def _come_back(self) -> bool:
        if not self._gone:
            return False
        key = self.dice.choice(sorted(self._gone))
        self.register.products[key] = self._gone.pop(key)
        if "nombre" not in self.register.products[key]:
            self.register.products[key]["nombre"] = "DE VUELTA"
        self._tell(key, NEW)
        return True

    def _spoil(self) -> bool:
        return self._to_some(lambda product: product.pop("nombre"), among=lambda key: key not in self.spoilt)

    def _be_refused(self) -> bool:
        return self._to_some(lambda product: product.update(nombre=f"{REFUSED} {self.dice.randint(0, 3)}"))

    def _mend(self) -> bool:
        if not self.spoilt:
            return False
        key = self.dice.choice(sorted(self.spoilt))
        self.register.products[key]["nombre"] = f"COMO NUEVO {self.dice.randint(0, 3)}"
        self._tell(key, MODIFIED)
        return True

    def _to_some(self, change: Callable[[Any], Any], among: Callable[[str], bool] | None = None) -> bool:
        usable = among or (lambda key: key not in self.spoilt)
        some = [key for key in sorted(self.register.products) if usable(key)]
        if not some:
            return False
        key = self.dice.choice(some)
        self._were.pop(key, None)
        self._were[key] = {name: self.register.products[key][name] for name in ("nombre", "labtitular")}
        change(self.register.products[key])
        self._tell(key, MODIFIED)
        return True

    # what the register says of it

    def tell_whole(self, key: str) -> None:
        """That the product has changed."""
        self._tell(key, MODIFIED)

    def tell_beside(self, key: str, flag: str) -> None:
        """That what this flag stands for has changed, and nothing else."""
        self._tell(key, MODIFIED, flag)

    def _tell(self, key: str, kind: int, flag: str | None = None) -> None:
        """A row of the feed; some come late, with a stamp of yesterday, and some tie on one stamp."""
        self._become(key)
        stamp, flags = self._new_stamp(key, kind), [flag or "estado"]
        self.register.feed.append({"nregistro": key, "fecha": stamp, "tipoCambio": kind, "cambio": flags})
        row = json.dumps([key, stamp, kind, flags], ensure_ascii=False, separators=(",", ":"))
        of_flag = {ref for edition in self.editions[key] for ref in edition if self._scopes[ref] == f"{key}#{flag}"}
        self.feed.append(RowSeen(row, key, len(self.editions[key]) - 1, refs=of_flag if flag else None))

    def _become(self, key: str) -> None:
        """What the product is now is an edition of it."""
        if "nombre" in self.register.products.get(key, {"nombre": ""}):
            self.spoilt.discard(key)
        else:
            self.spoilt.add(key)
        if REFUSED in self.register.products.get(key, {}).get("nombre", ""):
            self.refused.add(key)
        else:
            self.refused.discard(key)
        self.editions.setdefault(key, []).append(self._edition(key))

    def _new_stamp(self, key: str, kind: int) -> int:
        late = timedelta(days=1) if self.dice.random() < 0.2 else timedelta(0)
        self.counts["a row comes a day late"] += bool(late)
        now = self.register.date or datetime.now(UTC)
        stamp = int((now - late).timestamp() * 1000)
        if self._stamp is not None and self.dice.random() < 0.3:
            stamp = self._stamp
            self.counts["a row ties with the one before"] += self.feed[-1].product != key
        told = {(row["nregistro"], row["fecha"]) for row in self.register.feed}
        while (key, stamp) in told:  # the same row twice would say nothing new
            stamp -= 1
        self._stamp = stamp
        return stamp

    def _edition(self, key: str) -> Edition:
        """What the product is mapped to now; what cannot be used leaves what was there, but for what stands beside."""
        if key not in self.spoilt:
            return self._mapped(key)
        before = self.editions[key][-1] if self.editions.get(key) else {}
        left = {ref: body for ref, body in before.items() if self._scopes[ref] == key}
        return {**left, **self._mapped(f"{key}#{'+'.join(sorted(SIDE_FLAGS))}")}

    def _mapped(self, row_key: str) -> Edition:
        """What a row becomes, by the job's own mapping."""
        with_source = Cima(
            CimaOptions(base_url="https://cima.invalid/cima/rest"),
            SystemClock(),
            wire=httpx.MockTransport(self._answer),
            pace=SteadyPace(SystemClock(), 1e6),
        )
        with closing(with_source):
            rows = [row for batch in with_source.fetch([row_key]) for row in batch.rows]
            changes = [c for row in rows for c in with_source.to_changes(row) if isinstance(c, Upsert)]
        self._scopes |= {c.ref: c.scope for c in changes}
        return {c.ref: c.body for c in changes}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        reply = self.register._true(request.url.raw_path.decode())
        return httpx.Response(reply.status, content=reply.body, headers={**reply.headers, "Date": self.register.now()})


ACTS: dict[str, tuple[int, Callable[[RegisterStory], bool]]] = {
    "appears": (3, RegisterStory._appear),
    "changes": (6, RegisterStory._change),
    "takes its change back": (4, RegisterStory._take_back),
    "changes its company": (3, RegisterStory._change_of_company),
    "loses a package": (2, RegisterStory._lose_a_package),
    "finds a package": (2, RegisterStory._find_a_package),
    "vanishes": (2, RegisterStory._vanish),
    "is mostly gone": (1, RegisterStory._most_vanishes),
    "is hidden for a night": (1, RegisterStory._hide),
    "comes back": (2, RegisterStory._come_back),
    "is refused by the server": (1, RegisterStory._be_refused),
    "is spoilt": (1, RegisterStory._spoil),
    "is mended": (2, RegisterStory._mend),
    **STANDING_ACTS,
    **SIDE_ACTS,
}


@cache
def _models() -> Register:
    """The recorded products; copied before anything is done to them."""
    return Register.of_folder(BODIES)


def names(acts: Sequence[str]) -> str:
    return ", ".join(acts) or "nothing"
