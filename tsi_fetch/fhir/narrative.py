"""HTML from anywhere becomes the XHTML that FHIR allows in a narrative.

What FHIR R5 ("Narrative", rules of the XHTML content) forbids is removed: scripts, forms, frames, objects, external
style sheets, event attributes; deprecated elements are rewritten with a style of the same look.  No visible word goes.
What leads nowhere once it is out of its page goes too: addresses that are relative, pictures from elsewhere.
HAPI refuses what is malformed (unclosed tags, `<o:p>`, `&copy` without semicolon) but accepts script and onclick, so
the cleaning is ours.

nh3 reads the fragment as a browser would and keeps what an allow list names; that result is written out as XML,
straight from its tags where they say all (`straight`), else from the tree that lxml reads.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from html import unescape
from typing import Any

import nh3
from lxml import etree

from tsi_fetch.fhir.content_model import MAY_BE_EMPTY, plain
from tsi_fetch.fhir.straight import straight
from tsi_fetch.fhir.tags import (
    INLINE,
    KEPT,
    LOOKS,
    VOID,
    attributes,
    end_tag,
    escaped,
    may_be_shown,
    start_tag,
    unwrapped,
    with_alt,
    words_of_field,
    written,
)
from tsi_fetch.phases import phase

XMLNS = "http://www.w3.org/1999/xhtml"
ROOT = f'<div xmlns="{XMLNS}">'
MAX_DEPTH = 200
"""Nesting that is kept: libxml2 reads 256 levels of XML, and cuts deep HTML off without a word."""

MOST_OPEN = 1_000
"""Elements open at once of which a text is read as one with markup: to nest takes readers of HTML the square of it."""

_SELF_CLOSING = VOID | frozenset("p li td th tr dt dd option optgroup tbody thead tfoot input link meta base".split())
_ANY_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_FOREIGN_PART = re.compile(r"<(?:svg|math)(?![^\s/<>])", re.IGNORECASE)
_NAME = re.compile(r"<(/?)([A-Za-z][^\s/<>]{0,30})(?=[\s/>])")  # of formulas and drawings none is longer
_MARKUP = re.compile(r"</?[A-Za-z][^<>]*>")


_CONTROLS = frozenset("option optgroup button legend label textarea input".split())
_FOREIGN = frozenset(
    "svg g text tspan foreignObject math semantics mrow mstyle mi mn mo ms mtext mfrac msqrt mroot msub msup msubsup "
    "munder mover munderover mtable mtr mtd".split()
)
_SPACED = _CONTROLS | _FOREIGN
"""Forbidden elements whose words stay, apart from the next ones: an exponent must not become a digit of its number."""

_ALLOWED = set(KEPT | LOOKS.keys() | _SPACED)
_DROPPED_WHOLE = {"script", "style", "template", "iframe", "noframes", "noembed", "title"}
"""Elements whose content no reader sees."""

_CELL = {"colspan", "rowspan", "align", "valign", "headers", "scope", "abbr", "width"}
_ATTRIBUTES = {
    "*": {"style", "class", "id", "title", "lang", "dir", "hidden"},
    "a": {"href", "name"},
    "img": {"src", "alt", "width", "height"},
    "table": {"border", "cellpadding", "cellspacing", "summary", "width", "frame", "rules"},
    "td": _CELL,
    "th": _CELL,
    "col": {"span", "width", "align", "valign"},
    "colgroup": {"span", "width", "align", "valign"},
    "ol": {"start", "type"},
    "ul": {"type"},
    "li": {"value", "type"},
    "input": {"type", "value", "placeholder", "alt"},
}
_SCHEMES = {"http", "https", "mailto", "tel", "data"}
_NOTHING = "\u200b"
"""What an empty target of links holds: HAPI gives `<div id="x"></div>` back as `<div id="x"/>`, and a page reads that
as a div without end, which all sections that follow are part of."""
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_REFERENCE = re.compile("&#([0-9]{1,9}|[xX][0-9A-Fa-f]{1,8});?")
_TAG = re.compile(r"<(/?)([a-z0-9]+)(?:[\s/][^<>]*)?>")
_WORD = re.compile(">[^<]*[A-Za-z0-9]")  # of a narrative of ours: within a tag no `>` stands for itself
_ROUNDS = 5  # what nests only within a forbidden element is read differently once that is gone: two do nearly always
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def _cleaner(attributes: dict[str, set[str]]) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=_ALLOWED,
        clean_content_tags=_DROPPED_WHOLE,
        attributes=attributes,
        url_schemes=_SCHEMES,
        link_rel=None,
    )


_CLEANER, _BARE = _cleaner(_ATTRIBUTES), _cleaner({"input": _ATTRIBUTES["input"]})
_BARE_FIELD = re.compile('<input((?: [a-z]+="[^"]*")*)>')
"""In what `_BARE` gives: nothing else has attributes there, and words hold no `<`."""


def xhtml(fragment: str, pictures: str = "") -> str:
    """The fragment as one `<div xmlns=…>` of well-formed XHTML; the same for the result again.

    Characters stand for themselves, but for `&amp;`, `&lt;`, `&gt;`, and `&quot;` in attributes.  The div is empty
    where nothing is left; FHIR wants some text in it (txt-2), which is the caller's to give.

    `pictures`: what the addresses of pictures that stay begin with, beside those that come with the text
    (`https://source.example/`, lower case, with the slash); of all others the `alt` stays.
    """
    with phase("clean"):
        return _settled(fragment, pictures)


def _settled(fragment: str, pictures: str) -> str:
    """Cleaned until another round changes nothing."""
    fragment = _unnested(_legal(fragment))
    clean = _allowed(fragment, _CLEANER)
    if (content := straight(clean, pictures)) is not None:
        return f"{ROOT}{content}</div>"
    div = _div(_shallow(clean, fragment), pictures)
    for _ in range(_ROUNDS):
        if plain(div):
            break  # the next round would only confirm it, at the price of this one
        before, div = div, _div(_cleaned(div), pictures)
        if div == before:
            break
    return div


def paragraph(text: str) -> str:
    """Plain text as a narrative of one paragraph."""
    return f"{ROOT}<p>{escaped(_ILLEGAL.sub('', text))}</p></div>"


def blank(div: str) -> bool:
    """True where a narrative of `xhtml` shows nothing: no word, no picture."""
    return not _WORD.search(div) and "<img " not in div and not visible(div).strip()


def visible(div: str) -> str:
    """The words of a narrative of `xhtml`, blocks apart; without characters that take no room."""
    return unescape(_apart(div)).translate(dict.fromkeys(map(ord, _INVISIBLE)))


def _apart(markup: str) -> str:
    return _TAG.sub(lambda tag: "" if tag[2] in INLINE else " ", markup)


def _cleaned(fragment: str) -> str:
    """HTML of allowed elements only, as a browser would nest it, and no deeper than XML's readers go."""
    fragment = _unnested(_legal(fragment))
    return _shallow(_allowed(fragment, _CLEANER), fragment)


def _shallow(clean: str, fragment: str) -> str:
    """What is left of the fragment; its words alone where it is nested deeper than XML's readers go."""
    if clean.count("</") > MAX_DEPTH:
        bare = _BARE_FIELD.sub(_bare_field, _allowed(fragment, _BARE))  # without attributes every tag is plain to see
        if _depth(bare) > MAX_DEPTH:
            return _apart(bare)
    return clean


def _bare_field(field: re.Match[str]) -> str:
    given = {name: unescape(value) for name, value in re.findall('([a-z]+)="([^"]*)"', field[1])}
    return f" {escaped(words_of_field(given))} "


def _legal(fragment: str) -> str:
    """Without what XML forbids, as a character or by its number: `java&#1;script:` must be judged as it comes out."""
    fragment = _ILLEGAL.sub("", fragment)
    return _REFERENCE.sub(_legal_reference, fragment) if "&#" in fragment else fragment


def _legal_reference(found: re.Match[str]) -> str:
    number = int(found[1][1:], 16) if found[1][0] in "xX" else int(found[1])
    forbidden = number in (0xFFFE, 0xFFFF) or (0 < number < 0x20 and _ILLEGAL.match(chr(number)))
    return "" if forbidden else found[0]


def _unnested(fragment: str) -> str:
    """The fragment; without any markup where too much of it is open at once."""
    if fragment.count("<") <= MOST_OPEN or not _too_open(fragment):
        return fragment
    plain = _MARKUP.sub(" ", fragment)
    return plain.replace("<", "&lt;") if _too_open(plain) else plain


def _too_open(fragment: str) -> bool:
    """Are more elements open at once than is reasonable?  Told by their tags, without reading them as HTML."""
    opened: Counter[str] = Counter()
    total = 0
    for closing, name in _ANY_TAG.findall(fragment):
        tag = name.lower()
        if tag in _SELF_CLOSING or (closing and not opened[tag]):
            continue
        step = -1 if closing else 1
        opened[tag] += step
        total += step
        if total > MOST_OPEN:
            return True
    return False


def _div(clean: str, pictures: str) -> str:
    # huge_tree: without it a picture of 10 MB, or a depth of 256, silently ends the text.
    parser = etree.HTMLParser(huge_tree=True)
    body = etree.fromstring(f"<html><body>{clean}</body></html>", parser).find("body")
    _links_apart(body)
    return f"{ROOT}{_written(body, pictures)}</div>"


def _links_apart(body: Any) -> None:
    """A link in a cell within a link becomes words of the outer one: HTML's readers nest these, XHTML forbids it."""
    for link in body.iter("a"):
        if next(link.iterancestors("a"), None) is not None:
            link.tag = "span"
            link.attrib.pop("href", None)
            if (name := link.attrib.pop("name", None)) and not link.get("id"):
                link.set("id", name)


def _allowed(fragment: str, cleaner: nh3.Cleaner) -> str:
    clean = cleaner.clean(_at_home(fragment))
    return _ILLEGAL.sub("", clean) if "&#" in fragment else clean  # `&#1;` has become a character by now


def _at_home(fragment: str) -> str:
    """Without names of parts of formulas and drawings, where there is neither: nh3 drops such elements (`<sin>`,
    `<text>`) with all that they hold, and a reader sees what they hold."""
    strange = {name for _, name in set(_NAME.findall(fragment)) if _loses_words(name.lower())}
    if not strange or _FOREIGN_PART.search(fragment):
        return fragment
    return _NAME.sub(lambda tag: f"<{tag[1]}label" if tag[2] in strange else tag[0], fragment)


@lru_cache(maxsize=1024)
def _loses_words(name: str) -> bool:
    """Does nh3 drop what stands in an element of this name, though a reader is shown it?"""
    return name not in _DROPPED_WHOLE and "x" not in _BARE.clean(f"<p><{name}>x</{name}></p>")


def _depth(clean: str) -> int:
    depth = deepest = 0
    for closing, tag in _TAG.findall(clean):
        if tag not in VOID:
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def _written(root: Any, pictures: str) -> str:
    """The content of the root as XML; divs that merely wrap all of it are taken off."""
    out: list[str] = [escaped(root.text or "")]
    starts: list[int] = []
    wrapped: dict[int, int] = {}
    for event, el in etree.iterwalk(root, events=("start", "end")):
        if el is root:
            continue
        if event == "start":
            starts.append(len(out))
            _start(out, el, pictures)
            continue
        start = starts.pop()
        _end(out, start, el)
        wrapped[start] = len(out) - 1
        if tail := el.tail:
            out.append(escaped(tail))
    return "".join(unwrapped(out, wrapped))


def _start(out: list[str], el: Any, pictures: str) -> None:
    tag, text = el.tag, el.text
    if tag == "input":
        words = words_of_field(el.attrib)
        out.append(f" {escaped(words)}" if words.strip() else "")
    elif tag in _SPACED:
        out.append(" ")
    else:
        out.append(_image(el, pictures) if tag == "img" else start_tag(tag, el.items()))
    if text and tag == "pre":
        text = text.lstrip("\n")  # HTML drops the first line break of a pre each time it is read.
    if text:
        out.append(escaped(text))


def _end(out: list[str], start: int, el: Any) -> None:
    tag = el.tag
    if tag == "input":
        out.append(" " if out[start] else "")
    elif tag in _SPACED:
        out.append(" ")
    elif tag not in VOID:
        if len(out) == start + 1 and tag not in MAY_BE_EMPTY:
            out.pop()  # `<em></em>` comes back from HAPI as `<em/>`, which a page reads as an em without end
            _bequeath(out, el)
        else:
            out.append(end_tag(tag))


def _bequeath(out: list[str], el: Any) -> None:
    """What links call an empty element goes to the next one, or to the one around it where that is empty too; a span
    has it within a line of text.  Elsewhere it goes: nothing may take the room of a line."""
    known = el.get("id") or el.get("name")
    if not known:
        return
    text, heir = (el.tail or "").strip(), el.getnext()
    if heir is None and el.getprevious() is None and not (el.getparent().text or "").strip():
        heir = el.getparent()
    if not text and heir is not None and heir.tag not in _SPACED and not heir.get("id"):
        heir.set("id", known)
    elif text or not out[-1].endswith(">"):
        out.append(f"<span{attributes([('id', known)])}>{_NOTHING}</span>")


def _image(el: Any, pictures: str) -> str:
    """An image with an alt; its alt alone where it has no usable source."""
    if not may_be_shown(el.get("src", ""), pictures):
        return escaped(" ".join(el.get("alt", "").split()))
    return written("img", with_alt(dict(el.items())))
