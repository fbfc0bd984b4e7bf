"""Cleaned HTML that is written as XML straight from its tags, without a tree: most texts, at a third of the price.

Only of that part of HTML in which nothing is implied (`content_model`): there a tree would say what the tags say.  What
is not of it, or is not sure to be, is left to the tree (`narrative`); both give the same, byte for byte.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from tsi_fetch.fhir.content_model import BLANKS, DEPTH, MAY_BE_EMPTY, MODEL, WORDLESS
from tsi_fetch.fhir.tags import (
    LONGEST_REMEMBERED,
    LOOKS,
    VOID,
    Pairs,
    end_tag,
    may_be_shown,
    start_tag,
    unwrapped,
    with_alt,
    written,
)

_START = re.compile('([a-z0-9]+)((?: [^ "=]+="[^"]*")*)')
_ATTRIBUTE = re.compile(' ([^ "=]+)="([^"]*)"')
_SOURCE = re.compile(r"data:image/[a-z+.-]+;base64,[A-Za-z0-9+/=]+|https?://[\w./%-]+", re.ASCII)
"""Of a picture that another round of cleaning leaves as it is."""


class _Tag(NamedTuple):
    """A start tag, and the end tag that belongs to it, if one does, in XML.

    `model`: the element by which it is judged; empty: not of this part.  `called`: links may lead to it.
    """

    model: str
    start: str
    end: str
    called: bool
    may_be_empty: bool


def straight(clean: str, pictures: str = "") -> str | None:
    """The content of the narrative's div; None where the tree must tell.

    `clean`: what nh3 wrote, in which only `&`, `<`, `>`, the no-break space and (in attributes) quotes are escaped.
    `pictures`: see `narrative.xhtml`.
    """
    if "\r" in clean:
        return None  # a character reference was one: readers differ
    pieces = clean.replace("&nbsp;", "\xa0").split("<")
    if clean.count(">") != len(pieces) - 1:
        return None  # one of them stands in an attribute
    return _written(pieces, pictures)


def _written(pieces: list[str], pictures: str) -> str | None:
    """`pieces`: words, and then tags with the words that follow each."""
    out, wrapped = pieces[:1], dict[int, int]()
    within, opened = ["div"], list[tuple[int, _Tag]]()
    for piece in pieces[1:]:
        raw, _, text = piece.partition(">")
        if raw[:1] == "/":
            begun, tag = opened.pop()
            within.pop()
            if begun == len(out) - 1 and not tag.may_be_empty:
                if tag.called:
                    return None
                out.pop()
            else:
                wrapped[begun] = len(out)
                out.append(tag.end)
        else:
            tag = _remembered(raw, pictures) if len(raw) < LONGEST_REMEMBERED else _read(raw, pictures)
            if tag.model not in MODEL[within[-1]] or len(within) > DEPTH:
                return None
            if tag.end:
                opened.append((len(out), tag))
                within.append(tag.model)
            out.append(tag.start)
        if text:
            if within[-1] in WORDLESS and text.strip(BLANKS):
                return None
            out.append(text)
    return "".join(unwrapped(out, wrapped))


_NONE = _Tag("", "", "", called=False, may_be_empty=False)


def _read(raw: str, pictures: str) -> _Tag:
    found = _START.fullmatch(raw)
    if not found:
        return _NONE
    name = found[1]
    given = [(attribute, _plain(value)) for attribute, value in _ATTRIBUTE.findall(found[2])]
    if name == "img":
        return _picture(given, pictures)
    model = LOOKS[name].tag if name in LOOKS else name
    called = any(attribute in ("id", "name") for attribute, _ in given)
    end = "" if name in VOID else end_tag(name)
    return _Tag(model, start_tag(name, given), end, called, name in MAY_BE_EMPTY)


def _picture(given: Pairs, pictures: str) -> _Tag:
    """Stands wherever a line break does."""
    pairs = dict(given)
    source = pairs.get("src", "")
    if not _SOURCE.fullmatch(source) or not may_be_shown(source, pictures):
        return _NONE
    return _Tag("br", written("img", with_alt(pairs)), "", called=False, may_be_empty=False)


_remembered = lru_cache(maxsize=1024)(_read)


def _plain(value: str) -> str:
    return value.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
