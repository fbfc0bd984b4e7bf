"""What a register in trouble, or somebody in its place, may answer instead: seeded changes of a JSON answer.

A `Mutation` says what it did, so that a failing one can be told and made again.  `neutral`: nothing that is mapped
from the answer has changed.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PLANTED = "PLANTED-VALUE"
"""Stands in many a changed member; no report may show it."""

UNMAPPED = frozenset("pactivos orden".split())
"""Members of which nothing is mapped, whatever they hold."""

_AGAIN, _RAW = "\ue000", "\ue001"  # private characters: a key written twice, a token written as it is


@dataclass(frozen=True)
class Mutation:
    kind: str
    path: str
    body: bytes
    status: int = 200
    neutral: bool = False

    @property
    def nowhere(self) -> bool:
        """Whether it is a change of the bytes, or of all of them: there is no one place of it."""
        return self.kind not in TREE

    def __str__(self) -> str:
        return f"{self.kind} at {self.path or '$'} (status {self.status}): {self.body[:200]!r}"


def written(tree: Any, **style: Any) -> bytes:
    """JSON as a register writes it; private characters have done their work."""
    text = json.dumps(tree, **{"ensure_ascii": False, **style})
    return text.replace(f'"{_RAW}', "").replace(f'{_RAW}"', "").replace(_AGAIN, "").encode("utf-8", "surrogatepass")


def raw(token: str) -> str:
    """A value that `written` writes as this token."""
    return f"{_RAW}{token}{_RAW}"


Step = str | int
Place = tuple[Any, Step, str]
"""A container, where in it, and the JSON path of that."""


def places(node: Any, path: str = "") -> Iterator[Place]:
    """Every member and element of a tree."""
    steps: list[tuple[Step, Any]] = []
    if isinstance(node, dict):
        steps = list(node.items())
    elif isinstance(node, list):
        steps = list(enumerate(node))
    for step, child in steps:
        here = f"{path}.{step}" if isinstance(step, str) else f"{path}[{step}]"
        yield node, step, here
        yield from places(child, here)


# --- what stands in a member instead ---------------------------------------------------------------------------------

STRINGS = [
    "",
    " ",
    "\u00a0\u200b",
    PLANTED,
    f"<script>{PLANTED}</script><p onclick=x>{PLANTED}",
    "<!DOCTYPE x [<!ENTITY a '&#97;'><!ENTITY b '&a;&a;'>]><p>&b;</p>",
    "<div>" * 400,
    "<p>a < b & c &nbsp &#0; &#xD800; &#x110000;",
    "]]><![CDATA[<?php",
    "../../../etc/passwd",
    "%2e%2e%2f",
    "C:\\nul",
    "a\0b",
    "\x1b[2J\x07",
    "\u202egnirts",
    "\ufeff\ufffe\uffff",
    "𝟙𝟚𝟛 ﷽ İı",
    "line\r\nbreak\u2028\u2029\x85",
    "{{7*7}} ${x} %s %n {0}",
    "' OR 1=1; --",
    "null",
    "NaN",
    "1e5",
    "٣٤",
    PLANTED + "x" * 300,
    "ñ" * 5_000,
]
NUMBERS = [
    *map(raw, "0 -1 1 1.0 1.00 -0 -0.0 0.10 1e2 1E-7 1e400 -1e-400 0.1234567890123456789012345678901234567890".split()),
    raw("9" * 18),
    raw("9" * 19),
    raw("1" + "0" * 100),
    raw("-" + "7" * 100),
    raw("2147483648"),
    raw("9007199254740993"),
]
DATES = [
    *map(raw, "0 -1 1466978400 -2208988800001 -62135596800000 -62135596800001 253402297199999 253402300800000".split()),
    *map(raw, "99999999999999999 -99999999999999999 -62167219200000 1466978400000.0 1466978400000.5".split()),
    "1466978400000",
    "2016-06-27",
    "27/06/2016",
    "",
]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], {"id": None}, [[["x"]]], {"": ""}, 7, PLANTED]


def _deep(depth: int) -> Any:
    return raw("[" * depth + "1" + "]" * depth)


def _put(tree: Any, place: Place, value: Any) -> None:
    container, step, _ = place
    container[step] = value


def _another(rng: random.Random, place: Place) -> Any:
    """A value that is not the one that stands there."""
    container, step, path = place
    pools: list[list[Any]] = [STRINGS, NUMBERS, OTHERS]
    if path.rpartition(".")[2] in ("aut", "susp", "rev", "fecha", "fini", "ffin"):
        pools = [DATES]
    values = [value for value in rng.choice(pools) if value != container[step]]
    return rng.choice(values)


# --- changes of the tree; each returns whether it could be made ------------------------------------------------------


def _drop(rng: random.Random, place: Place) -> bool:
    del place[0][place[1]]
    return True


def _null(rng: random.Random, place: Place) -> bool:
    place[0][place[1]] = None
    return True


def _instead(rng: random.Random, place: Place) -> bool:
    place[0][place[1]] = _another(rng, place)
    return True


def _as_string(rng: random.Random, place: Place) -> bool:
    value = place[0][place[1]]
    if isinstance(value, str):
        if not value.isdecimal():
            return False
        place[0][place[1]] = raw(value.lstrip("0") or "0")
    elif isinstance(value, int | float):
        place[0][place[1]] = json.dumps(value)
    return not isinstance(value, dict | list)


def _wrapped(rng: random.Random, place: Place) -> bool:
    value = place[0][place[1]]
    for _ in range(rng.choice([1, 1, 2, 30])):
        value = [value]
    place[0][place[1]] = value
    return True


def _unwrapped(rng: random.Random, place: Place) -> bool:
    value = place[0][place[1]]
    if not isinstance(value, list) or not value:
        return False
    place[0][place[1]] = value[0]
    return True


def _twice(rng: random.Random, place: Place) -> bool:
    container, step, _ = place
    if isinstance(step, int):
        container.insert(step, copy.deepcopy(container[step]))
    else:
        container[_AGAIN + step] = rng.choice([container[step], None, PLANTED])
    return True


def _many(rng: random.Random, place: Place) -> bool:
    value = place[0][place[1]]
    if not isinstance(value, list) or not value:
        return False
    place[0][place[1]] = value[:1] * 30
    return True


def _shuffled(rng: random.Random, place: Place) -> bool:
    value = place[0][place[1]]
    if not isinstance(value, list) or len(value) < 2:
        return False
    value.reverse()
    return True


def _renamed(rng: random.Random, place: Place) -> bool:
    container, step, _ = place
    if not isinstance(step, str):
        return False
    name = rng.choice([step.upper(), step + " ", step + "\0", "ｎombre", "__proto__"])
    container[name] = container.pop(step)
    return True


def _long(rng: random.Random, place: Place) -> bool:
    if not isinstance(place[0][place[1]], str):
        return False
    place[0][place[1]] = rng.choice(["x", "<b>", "á ", "../"]) * rng.choice([70, 3_000, 25_000])
    return True


def _unpaired(rng: random.Random, place: Place) -> bool:
    place[0][place[1]] = raw('"\\ud800 \\udfff"')
    return True


def _constant(rng: random.Random, place: Place) -> bool:
    place[0][place[1]] = raw(rng.choice(["NaN", "Infinity", "-Infinity", "01", ".5", "+1", "0x1", "1.", "1e", "--1"]))
    return True


def _abyss(rng: random.Random, place: Place) -> bool:
    place[0][place[1]] = _deep(rng.choice([150, 250, 1_500, 10_000]))
    return True


TREE: dict[str, Callable[[random.Random, Place], bool]] = {
    "dropped": _drop,
    "null": _null,
    "another value": _instead,
    "number for string": _as_string,
    "nested": _wrapped,
    "not nested": _unwrapped,
    "twice": _twice,
    "many": _many,
    "shuffled": _shuffled,
    "renamed": _renamed,
    "long": _long,
    "lone surrogate": _unpaired,
    "no JSON number": _constant,
    "deep": _abyss,
}
_OFTEN = [*["another value"] * 12, *["dropped", "null", "number for string", "nested", "renamed", "long"] * 2]


LISTS = frozenset({"not nested", "many", "shuffled"})


def _longer(place: Place) -> bool:
    value = place[0][place[1]]
    return isinstance(value, list) and len(value) > 1


def _changed(rng: random.Random, tree: Any) -> Mutation | None:
    tree = copy.deepcopy(tree)
    kind = rng.choice([*TREE, *_OFTEN])
    found = [place for place in places(tree) if kind not in LISTS or _longer(place)]
    if not found:
        return None
    place = rng.choice(found)
    if not TREE[kind](rng, place):
        return None
    names = set(place[2].replace("[", ".").replace("]", "").split("."))
    # Unpaired surrogates, what is not JSON, a key twice and an abyss are refused wherever they stand.
    harmless = kind not in ("lone surrogate", "no JSON number", "deep") and not (
        kind == "twice" and isinstance(place[1], str)
    )
    return Mutation(kind, place[2], written(tree), neutral=bool(harmless and names & UNMAPPED and kind != "renamed"))


# --- members that nobody knows ---------------------------------------------------------------------------------------


def _unknown(rng: random.Random, tree: Any) -> Mutation | None:
    tree = copy.deepcopy(tree)
    objects = [tree] if isinstance(tree, dict) else []
    objects += [p[0][p[1]] for p in places(tree) if isinstance(p[0][p[1]], dict)]
    if not objects:
        return None
    value = rng.choice([*STRINGS, *NUMBERS, *OTHERS, _deep(150)])
    rng.choice(objects)[rng.choice(["nuevo", "_id", "$ref", "", "ñ", "a.b", "x" * 5_000, "\0"])] = value
    return Mutation("unknown member", "", written(tree), neutral=True)


# --- changes of the bytes --------------------------------------------------------------------------------------------


def _spelled(rng: random.Random, tree: Any) -> Mutation:
    """The same in another spelling."""
    spellings: list[tuple[str, bytes]] = [
        ("a byte order mark", b"\xef\xbb\xbf" + written(tree)),
        ("escapes", written(tree, ensure_ascii=True)),
        ("indents", written(tree, indent=1)),
        ("blanks around", b" \r\n\t" + written(tree) + b"\n\n"),
        ("members in another order", written(_reversed(tree))),
    ]
    name, body = rng.choice(spellings)
    return Mutation("spelling", name, body, neutral=True)


def _reversed(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _reversed(child) for name, child in reversed(node.items())}
    return [_reversed(child) for child in node] if isinstance(node, list) else node


def _coded(rng: random.Random, tree: Any) -> Mutation:
    text = written(tree).decode()
    coding = rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037"])
    return Mutation("encoding", coding, text.encode(coding, "replace"))


def _broken(rng: random.Random, tree: Any) -> Mutation:
    body = bytearray(written(tree))
    name = rng.choice(["cut", "a flipped bit", "a NUL", "more behind", "twice", "a byte lost", "no UTF-8"])
    at = rng.randrange(1, len(body)) if len(body) > 1 else 0
    if name == "cut":
        del body[at:]
    elif name == "a flipped bit":
        body[at] ^= 1 << rng.randrange(8)
    elif name == "a NUL":
        body.insert(at, 0)
    elif name == "more behind":
        body += rng.choice([b"]", b"}", b"x", b"\0", b"{}", b"null"])
    elif name == "twice":
        body += bytes(body)
    elif name == "a byte lost":
        del body[at]
    else:
        body[at:at] = rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"])
    return Mutation("broken bytes", f"{name} at byte {at}", bytes(body))


def _other_body(rng: random.Random, tree: Any) -> Mutation:
    status, body = rng.choice(
        [
            (200, b""),
            (200, b"null"),
            (200, b"[]"),
            (200, b"{}"),
            (200, b'"text"'),
            (200, b"7"),
            (200, b"<!DOCTYPE html><html><body>Mantenimiento</body></html>"),
            (200, b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "http://elsewhere.invalid/x.dtd"><x/>'),
            (200, b'{"error":"' + PLANTED.encode() + b'"}'),
            (200, b"[" * 10_000 + b"]" * 10_000),
            (200, b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
            (200, b'{"totalFilas":1,"pagina":1,"tamanioPagina":25,"resultados":[{"nregistro":"1"}]}'),
            (204, b""),
            (206, written(tree)[: len(written(tree)) // 2]),
            (404, b'{"error":"' + PLANTED.encode() + b'"}'),
            (418, PLANTED.encode()),
            (500, b"<html>" + PLANTED.encode()),
            (503, b""),
            (599, written(tree)),
        ]
    )
    return Mutation("another answer", f"status {status}", body, status)


KINDS: list[Callable[[random.Random, Any], Mutation | None]] = [
    *[_changed] * 20,
    *[_unknown] * 2,
    *[_spelled] * 2,
    _coded,
    *[_broken] * 2,
    *[_other_body] * 2,
]
ALL_KINDS = frozenset({*TREE, "unknown member", "spelling", "encoding", "broken bytes", "another answer"})


def mutated(rng: random.Random, tree: Any) -> Mutation:
    """The tree with one change that makes it another sequence of bytes."""
    clean = written(tree)
    while True:
        mutation = rng.choice(KINDS)(rng, tree)
        if mutation is not None and (mutation.body != clean or mutation.status != 200):
            return mutation
