"""What is planted, and the one table that says where it may be found.

Every marker is a word that nothing else says.  People have names of plain letters, since a filter that goes by digits
or odd signs would let those through; passwords have the signs that passwords have (`/`, `@`, `+`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

SECRETS: Mapping[str, str] = {
    "plain token": "Tok-Plain-c0ffee/41+a=",
    "file token": "Tok-File-beef77.q~x",
    "env token": "Tok-Env-facade_19:z",
    "lost store": "Lost/pass+Word=90",
    "query store": "Query-pass-Word-31",
    "base store": "Base-pass@Word-77",
    "proxy": "Proxy-pa55-wOrd",
    "source key": "Key-of-Source-8841",
    "redirect secret": "Client-sEcret-2207",
    "redirect signature": "Sig-nature-aa7bb3",
    "redirect password": "user-Pa@ss-link",
}

PEOPLE: Mapping[str, str] = {
    "mapped": "Abeniela",
    "unmapped": "Brumaldo",
    "invalid": "Cestrina",
    "misnamed": "Doraluz",
    "refused": "Eufrasio",
    "worded": "Fidencia",
    "waiting": "Gumersin",
    "foreign": "Hermelin",
    "page": "Isaurana",
    "moved": "Jacintera",
    "moved feed": "Kilianeda",
    "answer header": "Leovigil",
    "bug": "Macrinete",
    "sink page": "Nicasiana",
    "sink statement": "Obdulieta",
    "product": "Pascasio",
    "product refused": "Quiterino",
    "feed flag": "Rosendela",
    "twice": "Severiana",
}

IDENTIFIER = "ID-{}-5512"
"""Everybody has an identifier, too, which goes the same ways."""

# + must be there, ~ may be there, - must not.  What people type is no outlet, nor are the servers themselves.
TABLE = """\
                    wire said shown logs raised runs audit quarantine waiting other file tape sink exported diff
plain token          +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
file token           +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
env token            +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
lost store           -    -     -    -     -     -     -       -         -      -    -    -    -      -      -
query store          -    -     -    -     -     -     -       -         -      -    -    -    -      -      -
base store           -    -     -    -     -     -     -       -         -      -    -    -    -      -      -
proxy                +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
source key           +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
redirect secret      +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
redirect signature   +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
redirect password    +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
mapped               +    -     -    -     -     -     -       -         -      -    -    +    +      +      +
unmapped             +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
invalid              +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
misnamed             +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
refused              +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
worded               +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
waiting              +    -     -    -     -     -     -       -         +      -    -    +    -      -      -
foreign              +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
twice                +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
page                 +    -     -    -     -     -     -       -         -      -    -    +    -      -      -
moved                +    -     -    -     -     -     -       -         -      -    -    +    +      +      -
moved feed           +    -     -    -     -     -     -       -         -      -    -    +    -      -      -
answer header        +    -     -    -     -     -     -       -         -      -    -    ~    -      -      -
bug                  +    -     -    -     ~     -     -       -         -      -    -    +    -      -      -
sink page            +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
sink statement       +    -     -    -     -     -     -       -         -      -    -    -    -      -      -
product              +    -     -    -     -     -     -       -         -      -    -    +    +      +      -
product refused      +    -     +    -     -     -     -       +         -      -    -    +    -      +      -
feed flag            +    -     -    -     -     -     -       -         -      -    -    +    -      -      -
"""

OUTLETS = tuple(TABLE.splitlines()[0].split())
_NAME = 20  # columns of a marker's name


def table() -> Iterator[tuple[str, str, str]]:
    """Marker, outlet, and what is said of the two."""
    for line in TABLE.splitlines()[1:]:
        said = line[_NAME:].split()
        yield from ((line[:_NAME].strip(), outlet, sign) for outlet, sign in zip(OUTLETS, said, strict=True))


def words_of(marker: str) -> tuple[str, ...]:
    """What is searched for: of a secret also its parts, since a filter may stop at one of its signs."""
    if marker in SECRETS:
        return tuple(part for part in re.split("[/@]", SECRETS[marker]) if len(part) > 4)
    return PEOPLE[marker], IDENTIFIER.format(PEOPLE[marker])
