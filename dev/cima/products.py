"""The generated register's products: what never changes of each (`Facts`), drawn from the seed.

Rates are those of recorded answers, where there are enough of them: 1.65 packs a product, ten-digit numbers and no
`fecha` for the EMA's products, excipients without an amount, ingredients named twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from dev.cima.chance import dice, early, share
from dev.cima.lexicon import EXCIPIENTS, FORMS, SUPPLY, Form, Substance, brand, holders, substances
from dev.cima.numbers import is_union, registration

MADRID = ZoneInfo("Europe/Madrid")
PACKS = ((1, 0.625), (2, 0.862), (3, 0.939), (4, 0.967), (5, 0.981), (6, 0.99), (9, 1.0))
"""How many packs, and which share of the products has no more."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so at night 0, and stays: the rest is a `State`'s."""

    product: int
    number: str
    ema: bool
    brand: str
    name: str
    substances: tuple[Substance, ...]
    strength: tuple[tuple[str, str], ...]
    form: Form
    holder: str
    representative: str | None
    supply: str
    kind: dict[str, Any]  # generico, biosimilar, conduc, triangulo, huerfano, nosustituible
    excipients: tuple[dict[str, Any], ...]
    authorised: int
    suspended: int | None
    withdrawn: int | None
    segmented: tuple[int, ...]
    plain: tuple[int, ...]  # documents that are PDFs alone
    dated: tuple[int, int]  # of SmPC and leaflet
    photos: bool
    packs: int


def midnight(day: date) -> int:
    """CIMA's milliseconds of a day: its midnight in Madrid; negative before 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=MADRID).timestamp()) * 1000


def pack_count(seed: int, product: int) -> int:
    chance = share(seed, "packs", product)
    return next(count for count, most in PACKS if chance < most)


@lru_cache(maxsize=2_000)
def facts(seed: int, product: int) -> Facts:
    rng, ema = dice(seed, "product", product), is_union(seed, product)
    generic = not ema and rng.random() < 0.55
    found = tuple(rng.sample(substances(), rng.choices((1, 2, 3, 5), (80, 15, 4, 1))[0]))
    form = early(rng, FORMS)
    strength = tuple(_amount(rng, form) for _ in found)
    holder = early(rng, holders())
    trade = (brand(rng) if not generic else f"{found[0].nombre} {holder.split()[0].upper()}").strip()
    segmented, plain = _documents(rng)
    authorised, suspended, withdrawn = _days(rng, ema)
    return Facts(
        product=product,
        number=registration(seed, product),
        ema=ema,
        brand=trade,
        name=_name(rng, trade, strength, form, generic=generic),
        substances=found,
        strength=strength,
        form=form,
        holder=holder,
        representative=early(rng, holders()) if rng.random() < 0.35 else None,
        supply=rng.choices(SUPPLY, (70, 14, 4, 12))[0],
        kind=_kind(rng, generic=generic, ema=ema),
        excipients=_excipients(rng),
        authorised=authorised,
        suspended=suspended,
        withdrawn=withdrawn,
        segmented=segmented,
        plain=plain,
        dated=(_stamp(rng), _stamp(rng)),
        photos=rng.random() < 0.5,
        packs=pack_count(seed, product),
    )


def _amount(rng: Random, form: Form) -> tuple[str, str]:
    amount = rng.choice(
        ("5", "10", "20", "25", "50", "100", "250", "400", "500", "1.0", "0.5", "1242.0", "2,5", "12.5")
    )
    return amount, rng.choice(form.units)


def _name(rng: Random, trade: str, strength: tuple[tuple[str, str], ...], form: Form, *, generic: bool) -> str:
    dose = "/".join(f"{amount.replace('.', ',')} {unit}" for amount, unit in strength[:3])
    dose = dose.upper() if rng.random() < 0.4 else dose
    blank = "  " if rng.random() < 0.05 else " "
    return f"{trade}{blank}{dose} {form.nombre}{' EFG' if generic else ''}"


def _kind(rng: Random, *, generic: bool, ema: bool) -> dict[str, Any]:
    hard = rng.random() < 0.06
    reason = rng.choice(((1, "Biológicos"), (2, "Estrecho margen terapéutico"), (3, "Especial control médico")))
    chosen = reason if hard else (0, "N/A")
    return {
        "generico": generic,
        "conduc": rng.random() < 0.3,
        "triangulo": rng.random() < (0.2 if ema else 0.01),
        "huerfano": rng.random() < (0.07 if ema else 0.0),
        "biosimilar": rng.random() < (0.05 if ema else 0.0),
        "nosustituible": {"id": chosen[0], "nombre": chosen[1]},
    }


def _excipients(rng: Random) -> tuple[dict[str, Any], ...]:
    """Half say no amount; one product in 25 names one of them twice; `orden` has gaps."""
    some = rng.sample(EXCIPIENTS, rng.randint(0, 5))
    if some and rng.random() < 0.04:
        some.append(some[0])
    amounts = (("0", "-"), ("0", "-"), ("1 ml", "Cantidad suficiente"), ("900", "mg"), ("0.35", "mg"), ("1242.0", "µg"))
    return tuple(
        {"id": ident, "nombre": name, "cantidad": amount, "unidad": unit, "orden": 1 + place * rng.choice((1, 1, 3))}
        for place, (ident, name) in enumerate(some)
        for amount, unit in (rng.choice(amounts),)
    )


def _documents(rng: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which documents come in sections, and which are PDFs alone."""
    chance = rng.random()
    if chance < 0.92:
        return (1, 2), _further(rng)
    if chance < 0.95:
        return (1,), (2, *_further(rng))
    if chance < 0.96:
        return (2,), ()
    return (), ((1, 2) if chance < 0.985 else ())


def _further(rng: Random) -> tuple[int, ...]:
    return tuple(kind for kind, often in ((3, 0.25), (4, 0.08)) if rng.random() < often)


def _days(rng: Random, ema: bool) -> tuple[int, int | None, int | None]:
    """Authorised, suspended, withdrawn: one in 60 before 1970, one in 80 suspended, one in 16 withdrawn."""
    year = rng.randint(1998 if ema else 1971, 2025)
    if not ema and rng.random() < 1 / 60:
        year = rng.randint(1922, 1969)
    authorised = date(year, rng.randint(1, 12), rng.randint(1, 28))
    later = date(rng.randint(max(year, 2008), 2025), 12, rng.randint(1, 28))
    chance = rng.random()
    suspended = midnight(later) if chance < 1 / 80 else None
    withdrawn = midnight(later) if 1 / 90 < chance < 1 / 90 + 1 / 16 else None
    return midnight(authorised), suspended, withdrawn


def _stamp(rng: Random) -> int:
    """When a document was last changed: to the second, in the years before night 0."""
    return (1_400_000_000 + rng.randrange(340_000_000)) * 1000
