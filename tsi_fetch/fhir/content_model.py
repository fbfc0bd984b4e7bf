"""A part of HTML's content model in which nothing is implied: every reader nests it as it is written.

Whoever reads such markup, as HTML or as XML, finds the same tree (HTML, 3.2.5 and 13.1.2.4: no end tag is left out, and
no start tag closes anything).  Links, pictures, preformatted text and what is rare are not in it.
"""

from __future__ import annotations

import re

_INLINE = frozenset("span b em i strong small big tt dfn q var abbr acronym cite bdo kbd sub sup code samp".split())
_EMPTY = frozenset("br hr".split())
_WORDS = _INLINE | {"br"}
_FLOW = _WORDS | frozenset("p div h1 h2 h3 h4 h5 h6 blockquote ul ol dl table hr".split())
WORDLESS = {
    "narrative": frozenset({"div"}),
    **dict.fromkeys(("ul", "ol"), frozenset({"li"})),
    "dl": frozenset({"dt", "dd"}),
    "table": frozenset({"thead", "tbody", "tfoot"}),
    **dict.fromkeys(("thead", "tbody", "tfoot"), frozenset({"tr"})),
    "tr": frozenset({"td", "th"}),
}
MODEL = {
    **WORDLESS,
    **dict.fromkeys((*_INLINE, *"p h1 h2 h3 h4 h5 h6 dt".split()), _WORDS),
    **dict.fromkeys("div blockquote li dd td th".split(), _FLOW),
}
"""What may stand in what."""

MAY_BE_EMPTY = frozenset("td th li dt dd".split())
DEPTH = 100
_TOKEN = re.compile(r"<(/?)([a-z0-9]+)(?:\s[^<>]*)?/?>([^<]*)")
BLANKS = " \t\n"  # any other one, in a table, is a word that goes before it


def plain(div: str) -> bool:
    """Is this well-formed div of this part?  One that holds empty elements is not."""
    within = ["narrative"]
    opened = False
    for closing, tag, text in _TOKEN.findall(div):
        if closing:
            if opened and tag not in MAY_BE_EMPTY:
                return False
            within.pop()
        elif tag not in MODEL[within[-1]]:
            return False
        elif tag not in _EMPTY:
            within.append(tag)
        opened = not (closing or text or tag in _EMPTY)
        if text and within[-1] in WORDLESS and text.strip(BLANKS):
            return False
        if len(within) > DEPTH:
            return False
    return True
