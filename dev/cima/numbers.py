"""Registration numbers and national codes: each belongs to one product of the generator, by arithmetic.

The n-th product has the same number in every register of a seed, however large.  Spellings and their rates are those
of real lists: 13 of 387 are not made of digits alone.
"""

from __future__ import annotations

from dev.cima.chance import number, share

LARGEST = 33_000  # products there are codes for
MOST_PACKS = 12

_CODES = 399_989  # a prime: national codes are 600000 and the following
_STEP = 271_829
_BACK = pow(_STEP, -1, _CODES)
_NUMBERS = 89_989  # a prime: national registration numbers have five digits

UNION = 0.22
"""Share of the products that the EMA handles; a third of them keep a number of eight digits."""
ODD = 13 / 387


def is_union(seed: int, product: int) -> bool:
    return share(seed, "union", product) < UNION


def registration(seed: int, product: int) -> str:
    """The nregistro."""
    if is_union(seed, product):
        return _union(seed, product)
    digits = 10_000 + (product * 31_337 + seed) % _NUMBERS
    return _odd(seed, product, digits) if share(seed, "odd", product) < ODD / (1 - UNION) else str(digits)


def _union(seed: int, product: int) -> str:
    """10 digits 1YYNNNNPPP (EU/1/YY/NNNN/PPP), or 8 digits YYNNNPPP for the older ones."""
    family, one = product // 8, product % 8 + 1
    if share(seed, "old", family) < 0.33:
        return f"{(96 + family // 900) % 100:02}{family % 900 + 100:03}{one:03}"
    return f"1{13 + number(seed, 'year', family) % 13:02}{1000 + family:04}{one:03}"


def _odd(seed: int, product: int, digits: int) -> str:
    """Parallel imports and such."""
    text = str(digits)
    spellings = (
        f"{text[:2]} {text[2:]}-95-96",
        f"95-{text}",
        f"{text[:2]}-{text[2:]}-17-CIP2",
        f"200{text}IP",
        f"PA{text}024002IP1",
        f"{text}IP",
    )
    return spellings[number(seed, "spelling", product) % len(spellings)]


def code(product: int, pack: int) -> str:
    """The national code of a product's n-th pack."""
    return str(600_000 + (product * MOST_PACKS + pack) * _STEP % _CODES)


def owner(cn: str) -> tuple[int, int] | None:
    """The product and the place of a pack's code; None for what is no code."""
    if len(cn) != 6 or not (cn.isascii() and cn.isdigit()) or not 600_000 <= int(cn) < 600_000 + _CODES:
        return None
    return divmod((int(cn) - 600_000) * _BACK % _CODES, MOST_PACKS)
