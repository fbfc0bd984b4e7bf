"""The tags of a narrative: which HTML is kept, what the rest is rewritten as, and how it is written as XML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

BLOCKS = frozenset("p div h1 h2 h3 h4 h5 h6 blockquote pre address ul ol dl table caption".split())
_PARTS = frozenset("li dt dd thead tbody tfoot tr th td colgroup".split())
INLINE = frozenset("a span b em i strong small big tt dfn q var abbr acronym cite bdo kbd sub sup code samp".split())
VOID = frozenset("br hr img col".split())
KEPT = BLOCKS | _PARTS | INLINE | VOID


class Look(NamedTuple):
    """The element and style that a forbidden or newer element is rewritten as."""

    tag: str
    style: str = ""


_UNDERLINED = Look("span", "text-decoration:underline")
_STRUCK = Look("span", "text-decoration:line-through")
_INLINE_LOOKS = {"u": _UNDERLINED, "ins": _UNDERLINED, "s": _STRUCK, "strike": _STRUCK, "del": _STRUCK}
_INLINE_LOOKS |= {"font": Look("span"), "mark": Look("span")}
_BLOCK_LOOKS = {
    tag: Look("div")
    for tag in (
        "section article aside header footer main nav figure figcaption details summary dialog hgroup form fieldset"
    ).split()
} | {"center": Look("div", "text-align:center"), "menu": Look("ul"), "dir": Look("ul")}
LOOKS = _INLINE_LOOKS | _BLOCK_LOOKS

_STYLES = frozenset(
    "text-decoration text-decoration-line font-weight font-style text-align vertical-align list-style-type".split()
)
"""Properties that carry meaning in a medicine's text; colours, sizes and positions are the reader's business."""

_LINK = re.compile(r"https?://[^/]|mailto:|tel:|#.", re.IGNORECASE)
"""What a link may lead to: elsewhere, or within the text.  A narrative has no address that others are relative to."""

_MUTE = frozenset("hidden checkbox radio password file range color".split())
"""Types of fields whose value nobody is shown (HTML, 4.10.5 and 15.5)."""

_STYLE_VALUE = re.compile(r"[A-Za-z0-9 .%-]+")
_IMPORTANT = re.compile(r"\s*!\s*important$")
_HIDDEN = frozenset({("display", "none"), ("visibility", "hidden"), ("visibility", "collapse")})
_SHIFT = re.compile(r"(-?)([0-9]*\.?[0-9]+(?:pt|px|em|ex|mm))")
_MARKERS = frozenset(
    "none disc circle square decimal decimal-leading-zero lower-alpha upper-alpha lower-latin upper-latin lower-roman "
    "upper-roman lower-greek".split()
)
LONGEST_REMEMBERED = 400  # characters of attributes; Word gives thousands of elements the same ones

Pairs = Sequence[tuple[str, str]]


def start_tag(tag: str, given: Pairs) -> str:
    """The start tag of an element with these attributes, in XML; of one that has no end, the whole of it."""
    if sum(len(value) for _, value in given) > LONGEST_REMEMBERED:
        return written(tag, given)
    return _remembered(tag, tuple(given))


def written(tag: str, given: Pairs) -> str:
    """The same, for what comes once."""
    look = LOOKS.get(tag) or Look(tag)
    kept = [(name, value) for name, value in given if _kept(tag, name, value)]
    hidden = "display:none" if any(name == "hidden" for name, _ in given) else ""
    style = ";".join(filter(None, (look.style, _style(dict(given).get("style", "")), hidden)))
    if style:
        kept.append(("style", style))
    return f"<{look.tag}{attributes(kept)}{'/' if tag in VOID else ''}>"


_remembered = lru_cache(maxsize=1024)(written)


def with_alt(given: Mapping[str, str]) -> Pairs:
    """A picture's attributes with an `alt`: HAPI turns an empty one into the word null."""
    return [*{**given, "alt": " ".join(given.get("alt", "").split()) or "imagen"}.items()]


def may_be_shown(source: str, pictures: str) -> bool:
    """True of a picture that comes with the text, or from an address that begins with `pictures` (lower case; empty:
    none).  Any other one would tell somebody else who reads the text."""
    address = " ".join(source.split()).lower()
    return address.startswith("data:image/") or (bool(pictures) and address.startswith(pictures))


def words_of_field(given: Mapping[str, str]) -> str:
    """What a reader is shown in an `input` of these attributes."""
    kind = given.get("type", "").strip().lower()
    if kind == "image":
        return given.get("alt", "")
    return "" if kind in _MUTE else given.get("value", "") or given.get("placeholder", "")


def end_tag(tag: str) -> str:
    return f"</{LOOKS[tag].tag if tag in LOOKS else tag}>"


def attributes(pairs: Pairs) -> str:
    return "".join(f' {name}="{_quoted(value)}"' for name, value in pairs)


def escaped(value: str) -> str:
    """Words as XML has them."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "\n")


def _quoted(value: str) -> str:
    return escaped(" ".join(value.split())).replace('"', "&quot;")


def _kept(tag: str, name: str, value: str) -> bool:
    if name in ("style", "hidden") or (name == "href" and not _LINK.match(" ".join(value.split()))):
        return False
    return bool(value.strip()) or name == "alt"


def _style(declared: str) -> str:
    kept = []
    given = {}
    for declaration in declared.split(";"):
        name, _, value = (part.strip().lower() for part in declaration.partition(":"))
        given[name] = value = _IMPORTANT.sub("", value)
        if name == "list-style":
            name, value = "list-style-type", next((word for word in value.split() if word in _MARKERS), "")
        # What its author hides stays hidden: shown, it would be a text that nobody published.
        if (name in _STYLES and _STYLE_VALUE.fullmatch(value)) or (name, value) in _HIDDEN:
            kept.append(f"{name}:{' '.join(value.split())}")
    if "vertical-align" not in given and (raised := _raised(given)):
        kept.append(f"vertical-align:{raised}")
    return ";".join(kept)


def _raised(given: Mapping[str, str]) -> str:
    """How far words stand above their line, where they were moved there: an exponent that comes down to it would be a
    digit of its number."""
    if given.get("position") != "relative":
        return ""
    top, bottom = (_SHIFT.fullmatch(given.get(side, "")) for side in ("top", "bottom"))
    if top:
        return top[2] if top[1] else f"-{top[2]}"
    return bottom[0] if bottom else ""


def unwrapped(out: list[str], ends: dict[int, int]) -> list[str]:
    """The pieces without blank ones at both ends, and without divs that merely wrap all of it.

    `ends`: by the place of a start tag, that of its end tag.
    """
    first, last = 0, len(out) - 1
    while True:
        while first <= last and not out[first].strip():
            first += 1
        while last >= first and not out[last].strip():
            last -= 1
        if not (first < last and out[first] == "<div>" and ends.get(first) == last):
            return out[first : last + 1]
        first, last = first + 1, last - 1
