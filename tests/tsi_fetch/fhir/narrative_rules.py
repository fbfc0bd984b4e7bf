"""What holds for every narrative, and what a reader sees of HTML: judged without a line of the cleaner's own code.

The rules are FHIR's (txt-1: elements and attributes of HTML 4.0, chapters 7 to 11 and 15; txt-2: some content), as
HL7's validator spells them out, with the numbering of lists besides, which it leaves out and chapter 10 has.  The
words are those that html5lib finds: the algorithm of WHATWG by other hands than those of html5ever and libxml2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import html5lib
from lxml import etree

XHTML = "http://www.w3.org/1999/xhtml"
ROOT = f'<div xmlns="{XHTML}">'

ELEMENTS = frozenset(
    "p br div h1 h2 h3 h4 h5 h6 a span b em i strong small big tt dfn q var abbr acronym cite blockquote hr address "
    "bdo "
    "kbd sub sup ul ol li dl dt dd pre table caption colgroup col thead tr tfoot tbody th td code samp img map "
    "area".split()
)
ATTRIBUTES = frozenset(
    "title style class id lang dir accesskey tabindex "
    "span width align valign char charoff abbr axis headers scope rowspan colspan".split()
)
OF_ELEMENTS = frozenset(
    "a.href a.name a.hreflang a.rel a.type blockquote.cite q.cite img.src img.alt img.height img.width img.longdesc "
    "table.summary table.width table.border table.frame table.rules table.cellspacing table.cellpadding "
    "ol.start ol.type ul.type li.value li.type".split()
)
BLOCKS = frozenset("div blockquote table ol ul p".split())
"""What HL7's validator refuses within a paragraph."""

LINKS = re.compile(r"https?://[^/]|mailto:|tel:|#.", re.IGNORECASE)
"""Any other address is one that nobody may follow, or relative to a page that a narrative does not have."""
IMAGES = re.compile(r"data:image/[a-z.+-]+[;,]", re.IGNORECASE)
ACTIVE_STYLE = re.compile(r"url|expression|import|behaviou?r|binding|script|[\\@<>&]|/\*", re.IGNORECASE)
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

UNSEEN = frozenset("script style template head title iframe noframes noembed".split())
"""Elements whose content nobody is shown; what stands within object or video is shown where these cannot be."""

_TAG = re.compile(r'<[a-z0-9]+((?:\s[^\s"=<>]+="[^"]*")*)')
_NAME = re.compile(r'\s([^\s"=<>]+)="[^"]*"')
_SPACE = re.compile("[\\s\u200b\u200c\u200d\u2060\ufeff\u00ad\ufffd]+")


def breaches(div: str, pictures: str = "") -> list[str]:
    """What is wrong with a narrative; nothing where it may be written and shown anywhere.

    `pictures`: what an address begins with that a picture may come from; from anywhere else, whoever reads the text
    would be seen there.
    """
    if not div.startswith(ROOT) or not div.endswith("</div>"):
        return ["its root is not one div of XHTML"]
    if found := ILLEGAL.search(div):
        return [f"a character that XML forbids: {found[0]!r}"]
    try:
        root = read(div)
    except etree.XMLSyntaxError as e:
        return [f"not well-formed: {e.msg}"]
    names = [name for attributes in _TAG.findall(div) for name in _NAME.findall(attributes)]
    faults = ["not one xmlns"] if sum(name.startswith("xmlns") for name in names) != 1 else []
    for el in root.iter():
        faults.extend(_of_element(el, pictures) if isinstance(el.tag, str) else ["a comment or an instruction"])
    return faults


def read(div: str) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    return etree.fromstring(div, parser)


def _of_element(el: Any, pictures: str) -> Iterator[str]:
    name = etree.QName(el)
    if name.namespace != XHTML or name.localname not in ELEMENTS:
        yield f"an element: {el.tag}"
    above = {etree.QName(parent).localname for parent in el.iterancestors()}
    if (name.localname in BLOCKS and "p" in above) or (name.localname == "a" and "a" in above):
        yield f"{name.localname} within itself or a paragraph"
    for attribute, value in el.items():
        if attribute not in ATTRIBUTES and f"{name.localname}.{attribute}" not in OF_ELEMENTS:
            yield f"an attribute: {name.localname}.{attribute}"
        yield from _of_value(attribute, _as_a_browser_reads(value), pictures)


def _as_a_browser_reads(address: str) -> str:
    """Browsers take blanks and controls from the beginning, tabs and line breaks from the middle."""
    return re.sub("[\t\n\r]", "", re.sub("^[\x00-\x20]+", "", address))


def _of_value(attribute: str, value: str, pictures: str) -> Iterator[str]:
    allowed = {"href": LINKS, "cite": LINKS, "longdesc": LINKS, "src": IMAGES}.get(attribute)
    own = attribute == "src" and pictures and value.startswith(pictures)
    if allowed and not own and not allowed.match(value):
        yield f"an address: {value[:60]}"
    if attribute == "style" and ACTIVE_STYLE.search(value):
        yield f"a style: {value[:60]}"


def letters(text: str) -> str:
    """A text without white space and without characters that take no room or stand for others."""
    return _SPACE.sub("", ILLEGAL.sub("", text))


def seen(html: str) -> str:
    """The letters that a reader sees of HTML, in their order."""
    # html5lib's builder of etree loses words beside tables; that of minidom has them all.
    return letters("".join(_seen(html5lib.parseFragment(html, container="div", treebuilder="dom"))))


def shown(div: str) -> str:
    """The letters of a narrative, in their order."""
    return letters("".join(read(div).itertext()))


def _seen(root: Any) -> Iterator[str]:
    """Without recursion: a text may nest deeper than Python calls."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if node.nodeType == node.TEXT_NODE:
            yield node.data
        elif node.nodeName.lower() == "input":
            yield _in_field(node)
        elif node.nodeName.lower() not in UNSEEN:
            stack.extend(reversed(node.childNodes))


MUTE = frozenset("hidden checkbox radio password file range color".split())
"""Types of fields whose value nobody is shown (HTML, 4.10.5 and 15.5)."""


def _in_field(field: Any) -> str:
    kind = field.getAttribute("type").strip().lower()
    if kind == "image":
        return str(field.getAttribute("alt"))
    return "" if kind in MUTE else str(field.getAttribute("value") or field.getAttribute("placeholder"))
