"""HTML from anywhere becomes the XHTML that FHIR allows in a narrative.

What FHIR R5 ("Narrative", rules of the XHTML content) forbids is removed: scripts, forms, frames, objects, external
style sheets, event attributes; deprecated elements are rewritten with a style of the same look.  No visible word goes.
HAPI refuses what is malformed (unclosed tags, `<o:p>`, `&copy` without semicolon) but accepts script and onclick, so
the cleaning is ours.

nh3 reads the fragment as a browser would and keeps what an allow list names; lxml reads that result; a copy of the
whitelisted tree is written out as XML.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from html import unescape
from typing import Any, NamedTuple

import nh3
from lxml import etree

from tsi_fetch.fhir.content_model import plain
from tsi_fetch.phases import phase

XMLNS = "http://www.w3.org/1999/xhtml"
ROOT = f'<div xmlns="{XMLNS}">'
MAX_DEPTH = 200
"""Nesting that is kept: libxml2 reads 256 levels of XML, and cuts deep HTML off without a word."""

_BLOCKS = frozenset("p div h1 h2 h3 h4 h5 h6 blockquote pre address ul ol dl table caption".split())
_PARTS = frozenset("li dt dd thead tbody tfoot tr th td colgroup".split())
_INLINE = frozenset("a span b em i strong small big tt dfn q var abbr acronym cite bdo kbd sub sup code samp".split())
_VOID = frozenset("br hr img col".split())
_KEPT = _BLOCKS | _PARTS | _INLINE | _VOID

MOST_OPEN = 1_000
"""Elements open at once of which a text is read as one with markup: to nest takes readers of HTML the square of it."""

_SELF_CLOSING = _VOID | frozenset("p li td th tr dt dd option optgroup tbody thead tfoot input link meta base".split())
_ANY_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_MARKUP = re.compile(r"</?[A-Za-z][^<>]*>")


class _Look(NamedTuple):
    """The element and style that a forbidden or newer element is rewritten as."""

    tag: str
    style: str = ""


_UNDERLINED = _Look("span", "text-decoration:underline")
_STRUCK = _Look("span", "text-decoration:line-through")
_INLINE_LOOKS = {"u": _UNDERLINED, "ins": _UNDERLINED, "s": _STRUCK, "strike": _STRUCK, "del": _STRUCK}
_INLINE_LOOKS |= {"font": _Look("span"), "mark": _Look("span")}
_BLOCK_LOOKS = {
    tag: _Look("div")
    for tag in (
        "section article aside header footer main nav figure figcaption details summary dialog hgroup form fieldset"
    ).split()
} | {"center": _Look("div", "text-align:center"), "menu": _Look("ul"), "dir": _Look("ul")}
_LOOKS = _INLINE_LOOKS | _BLOCK_LOOKS
_CONTROLS = frozenset("option optgroup button legend label textarea".split())
_FOREIGN = frozenset(
    "svg g text tspan foreignObject math semantics mrow mstyle mi mn mo ms mtext mfrac msqrt mroot msub msup msubsup "
    "munder mover munderover mtable mtr mtd".split()
)
_SPACED = _CONTROLS | _FOREIGN
"""Forbidden elements whose words stay, apart from the next ones: an exponent must not become a digit of its number."""

_ALLOWED = set(_KEPT | _LOOKS.keys() | _SPACED)
_DROPPED_WHOLE = {"script", "style", "template", "iframe", "noframes", "noembed", "title"}
"""Elements whose content no reader sees."""

_CELL = {"colspan", "rowspan", "align", "valign", "headers", "scope", "abbr", "width"}
_ATTRIBUTES = {
    "*": {"style", "class", "id", "title", "lang", "dir"},
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
}
_SCHEMES = {"http", "https", "mailto", "tel", "data"}
_STYLES = frozenset(
    "text-decoration text-decoration-line font-weight font-style text-align vertical-align list-style-type".split()
)
"""Properties that carry meaning in a medicine's text; colours, sizes and positions are the reader's business."""

_EMPTY_KEPT = frozenset({"td", "th", "li", "dt", "dd"})
_NOTHING = "\u200b"
"""What an empty target of links holds: HAPI gives `<div id="x"></div>` back as `<div id="x"/>`, and a page reads that
as a div without end, which all sections that follow are part of."""
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_REFERENCE = re.compile("&#([0-9]{1,9}|[xX][0-9A-Fa-f]{1,8});?")
_STYLE_VALUE = re.compile(r"[A-Za-z0-9 -]+")
_TAG = re.compile(r"<(/?)([a-z0-9]+)(?:[\s/][^<>]*)?>")
_WORD = re.compile(">[^<]*[A-Za-z0-9]")  # of a narrative of ours: within a tag no `>` stands for itself
_LONGEST_REMEMBERED = 400  # characters of attributes; Word gives thousands of elements the same ones
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


_CLEANER, _BARE = _cleaner(_ATTRIBUTES), _cleaner({})


def xhtml(fragment: str) -> str:
    """The fragment as one `<div xmlns=…>` of well-formed XHTML; the same for the result again.

    Characters stand for themselves, but for `&amp;`, `&lt;`, `&gt;`, and `&quot;` in attributes.  The div is empty
    where nothing is left; FHIR wants some text in it (txt-2), which is the caller's to give.
    """
    with phase("clean"):
        return _settled(fragment)


def _settled(fragment: str) -> str:
    """Cleaned until another round changes nothing."""
    div = _div(_cleaned(fragment))
    for _ in range(_ROUNDS):
        if plain(div):
            break  # the next round would only confirm it, at the price of this one
        before, div = div, _div(_cleaned(div))
        if div == before:
            break
    return div


def paragraph(text: str) -> str:
    """Plain text as a narrative of one paragraph."""
    return f"{ROOT}<p>{_text(_ILLEGAL.sub('', text))}</p></div>"


def blank(div: str) -> bool:
    """True where a narrative of `xhtml` shows nothing: no word, no picture."""
    return not _WORD.search(div) and "<img " not in div and not visible(div).strip()


def visible(div: str) -> str:
    """The words of a narrative of `xhtml`, blocks apart; without characters that take no room."""
    return unescape(_apart(div)).translate(dict.fromkeys(map(ord, _INVISIBLE)))


def _apart(markup: str) -> str:
    return _TAG.sub(lambda tag: "" if tag[2] in _INLINE else " ", markup)


def _cleaned(fragment: str) -> str:
    """HTML of allowed elements only, as a browser would nest it, and no deeper than XML's readers go."""
    fragment = _unnested(_legal(fragment))
    clean = _allowed(fragment, _CLEANER)
    if clean.count("</") > MAX_DEPTH:
        bare = _allowed(fragment, _BARE)  # without attributes every tag is plain to see
        if _depth(bare) > MAX_DEPTH:
            return _apart(bare)
    return clean


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


def _div(clean: str) -> str:
    # huge_tree: without it a picture of 10 MB, or a depth of 256, silently ends the text.
    parser = etree.HTMLParser(huge_tree=True)
    body = etree.fromstring(f"<html><body>{clean}</body></html>", parser).find("body")
    _links_apart(body)
    return f"{ROOT}{_written(body)}</div>"


def _links_apart(body: Any) -> None:
    """A link in a cell within a link becomes words of the outer one: HTML's readers nest these, XHTML forbids it."""
    for link in body.iter("a"):
        if next(link.iterancestors("a"), None) is not None:
            link.tag = "span"
            link.attrib.pop("href", None)
            if (name := link.attrib.pop("name", None)) and not link.get("id"):
                link.set("id", name)


def _allowed(fragment: str, cleaner: nh3.Cleaner) -> str:
    clean = cleaner.clean(fragment)
    return _ILLEGAL.sub("", clean) if "&#" in fragment else clean  # `&#1;` has become a character by now


def _depth(clean: str) -> int:
    depth = deepest = 0
    for closing, tag in _TAG.findall(clean):
        if tag not in _VOID:
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def _written(root: Any) -> str:
    """The content of the root as XML; divs that merely wrap all of it are taken off."""
    out: list[str] = [_text(root.text or "")]
    starts: list[int] = []
    wrapped: dict[int, int] = {}
    for event, el in etree.iterwalk(root, events=("start", "end")):
        if el is root:
            continue
        if event == "start":
            starts.append(len(out))
            _start(out, el)
            continue
        start = starts.pop()
        _end(out, start, el)
        wrapped[start] = len(out) - 1
        if tail := el.tail:
            out.append(_text(tail))
    return "".join(_unwrapped(out, wrapped))


def _start(out: list[str], el: Any) -> None:
    tag, text = el.tag, el.text
    if tag in _SPACED:
        out.append(" ")
    else:
        out.append(_image(el) if tag == "img" else _opening(tag, el.items()))
    if text and tag == "pre":
        text = text.lstrip("\n")  # HTML drops the first line break of a pre each time it is read.
    if text:
        out.append(_text(text))


def _end(out: list[str], start: int, el: Any) -> None:
    tag = el.tag
    if tag in _SPACED:
        out.append(" ")
    elif tag not in _VOID:
        if len(out) == start + 1 and tag not in _EMPTY_KEPT:
            out.pop()  # `<em></em>` comes back from HAPI as `<em/>`, which a page reads as an em without end
            _bequeath(out, el)
        else:
            out.append(f"</{_LOOKS[tag].tag if tag in _LOOKS else tag}>")


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
        out.append(f"<span{_attributes([('id', known)])}>{_NOTHING}</span>")


def _opening(tag: str, attributes: list[tuple[str, str]]) -> str:
    if sum(len(value) for _, value in attributes) > _LONGEST_REMEMBERED:
        return _tag(tag, attributes)
    return _remembered_tag(tag, tuple(attributes))


def _tag(tag: str, given: Sequence[tuple[str, str]]) -> str:
    look = _LOOKS.get(tag) or _Look(tag)
    attributes = [(name, value) for name, value in given if _kept(tag, name, value)]
    style = ";".join(filter(None, (look.style, _style(dict(given).get("style", "")))))
    if style:
        attributes.append(("style", style))
    return f"<{look.tag}{_attributes(attributes)}{'/' if tag in _VOID else ''}>"


_remembered_tag = lru_cache(maxsize=1024)(_tag)


def _image(el: Any) -> str:
    """An image with an alt (HAPI turns an empty one into the word null); its alt where it has no usable source."""
    source, alt = el.get("src", ""), " ".join(el.get("alt", "").split())
    if not source or (source[:5].lower() == "data:" and source[:11].lower() != "data:image/"):
        return _text(alt)
    el.set("alt", alt or "imagen")
    return _tag("img", el.items())


def _kept(tag: str, name: str, value: str) -> bool:
    if name == "style" or (name == "href" and value.lstrip()[:5].lower() == "data:"):
        return False
    return bool(value.strip()) or name == "alt"


def _style(declared: str) -> str:
    kept = []
    for declaration in declared.split(";"):
        name, _, value = (part.strip().lower() for part in declaration.partition(":"))
        # What its author hides stays hidden: shown, it would be a text that nobody published.
        if (name in _STYLES and _STYLE_VALUE.fullmatch(value)) or (name, value) == ("display", "none"):
            kept.append(f"{name}:{' '.join(value.split())}")
    return ";".join(kept)


def _attributes(pairs: list[tuple[str, str]]) -> str:
    return "".join(f' {name}="{_quoted(value)}"' for name, value in pairs)


def _quoted(value: str) -> str:
    return _text(" ".join(value.split())).replace('"', "&quot;")


def _text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "\n")


def _unwrapped(out: list[str], ends: dict[int, int]) -> list[str]:
    first, last = 0, len(out) - 1
    while True:
        while first <= last and not out[first].strip():
            first += 1
        while last >= first and not out[last].strip():
            last -= 1
        if not (first < last and out[first] == "<div>" and ends.get(first) == last):
            return out[first : last + 1]
        first, last = first + 1, last - 1
