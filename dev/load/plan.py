"""What happens to a load, by its seed: interruptions, nights and shifts of the listing, each after so many requests."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from urllib.parse import quote

from dev.cima.generated import Generated
from dev.cima_server import BASE

What = Literal["interruption", "night", "shift"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EARLIEST, LATEST = 0.02, 0.9
"""Of the load, where interruptions and nights fall: what is planned must have come before it is done."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens once the register was asked `at` requests in all."""

    at: int
    what: What
    signal: signal.Signals | None = None


def acts(register: Generated, seed: int, interruptions: int, nights: int) -> list[Act]:
    """In their order.  The first interruption and the first night come while the listing is read."""
    dice, pages = Random(f"{seed} acts"), listing_pages(register)
    load = pages + sum(requests_of(register))
    kills = [Act(_at(dice, load), "interruption") for _ in range(interruptions - 1)]
    kills += [Act(dice.randint(1, 2 * pages), "interruption")] if interruptions else []
    kills = [Act(a.at, a.what, SIGNALS[n % len(SIGNALS)]) for n, a in enumerate(sorted(kills, key=lambda a: a.at))]
    passing = [Act(_at(dice, load), "night") for _ in range(nights)]
    shifts = [Act(_at(dice, load), "shift") for _ in range(2)]
    return sorted([*kills, *passing, *shifts], key=lambda act: act.at)


def _at(dice: Random, load: int) -> int:
    return max(1, int(load * dice.uniform(EARLIEST, LATEST)))


def listing_pages(register: Generated) -> int:
    return -(-len(register.numbers()) // register.settings.page_size)


def requests_of(register: Generated) -> Iterator[int]:
    """How many calls each product takes: itself, its packs, its texts, what its flags ask for."""
    for number in register.numbers():
        said: Any = json.loads(register.answer(f"{BASE}/medicamento?nregistro={quote(number)}").body)
        packs = len(said["presentaciones"])
        texts = sum(doc["secc"] for doc in said["docs"] if doc["tipo"] in (1, 2))
        yield 1 + packs + texts + said["notas"] + said["materialesInf"] + packs * said["psum"]
