"""Thousands of seeded mutations of hostile pieces and of texts as registers send them: what must hold of each.

FHIR's XHTML, nothing active, the same again when it is cleaned again; and of texts that only lost, doubled or crossed
their tags, every word that a reader sees.  TSI_HTML_MUTATIONS sets how many there are.
"""

from __future__ import annotations

import os
import re
from html import unescape
from random import Random

import pytest

from tests.hostile.test_html_disguises import CONFUSED, PIECES
from tests.tsi_fetch.fhir.narrative_rules import breaches, letters, seen, shown
from tsi_fetch.fhir.narrative import xhtml

MUTATIONS = int(os.environ.get("TSI_HTML_MUTATIONS", "3000"))
SHARES = 10

POOL = (*PIECES.values(), *CONFUSED.values())
TAGS = (
    "p div b i u span em strong font center ul ol li table tr td th tbody h2 a pre blockquote dl dt dd br hr img o:p "
    "input svg math mtext mi select option button form textarea title style script template noscript iframe caption "
    "colgroup col section details nobr foreignObject desc annotation-xml mglyph body html head frameset"
).split()
NOISE = (
    "<", ">", "/>", "</", "<!--", "-->", "--!>", "<![CDATA[", "]]>", "<?", "\"", "'", "`", "=", "&", "&#", ";", "&#0;",
    "&#1;", "\x00", "\x01", "\x0b", "\r", "\n", "\t", "\xa0", "\u200b", "\u202e", "\ufeff", "\ufffe", "\ud800",
    " onerror=alert(1) ",
    " style=x:expression(1) ", " href=javascript:alert(1) ", " xmlns='urn:x' ", " id=", "javascript:", "uno", " dos ",
)  # fmt: skip


def mutated(rng: Random) -> str:
    html = "".join(rng.choices(POOL, k=rng.choice((1, 1, 2, 3))))
    for _ in range(rng.choice((1, 2, 4, 8))):
        at, to = sorted(rng.choices(range(len(html) + 1), k=2))
        to = min(to, at + 12)
        tag = rng.choice(TAGS)
        new = rng.choice(
            (f"<{tag}>", f"</{tag}>", f"<{tag} ", rng.choice(NOISE), html[at:to] * 2, html[at:to].swapcase(), "")
        )
        html = html[:at] + new + html[rng.choice((at, to)) :]
    return html


WORDS = ("uno", "dos", "tres", "10", " mg ", "&lt;", "&aacute;", "&nbsp;", "a&b", "\n")
PLAIN = "p div b i u span em strong font ul li table tr td h2 a blockquote br section sub sup center".split()


def broken(rng: Random) -> str:
    """A text whose tags nobody matched: what editors leave behind, and no more."""
    parts: list[str] = []
    for _ in range(rng.randint(2, 24)):
        tag = rng.choice(PLAIN)
        parts.append(
            rng.choice((f"<{tag}>", f'<{tag} class="MsoNormal" style="color:red">', f"</{tag}>", "", "<o:p></o:p>"))
        )
        parts.append(rng.choice(WORDS))
    return "".join(parts)


@pytest.mark.parametrize("share", range(SHARES))
def test_a_mutated_piece_is_made_harmless(share: int) -> None:
    for number in range(share, MUTATIONS, SHARES):
        html = mutated(Random(f"mutated {number}"))
        div = xhtml(html)
        assert breaches(div) == [], (number, html)
        assert xhtml(div) == div, (number, html)


@pytest.mark.parametrize("share", range(SHARES))
def test_a_broken_text_keeps_its_words(share: int) -> None:
    for number in range(share, MUTATIONS // 3, SHARES):
        html = broken(Random(f"broken {number}"))
        div = xhtml(html)
        assert breaches(div) == [], (number, html)
        assert xhtml(div) == div, (number, html)
        assert sorted(shown(div)) == sorted(seen(html)), (number, html)
        if "<table" not in html:  # readers do not agree on the order of words that stand in a table beside its cells
            assert shown(div) in (seen(html), written(html)), (number, html)


def written(html: str) -> str:
    """The letters as they are written: of crossed elements html5lib, older than the standard, turns some round."""
    return letters(unescape(re.sub("<[^<>]*>", "", html)))


def tabled(rng: Random) -> str:
    """Tables within tables, whole, with broken texts in their cells."""
    cells = [rng.choice((broken, tabled) if rng.random() < 0.2 else (broken,))(rng) for _ in range(rng.randint(1, 4))]
    cells = [re.sub("</?(table|tr|td)[^>]*>", "", cell) if "<tr><td>" not in cell else cell for cell in cells]
    rows = "".join(f"<tr><td>{cell}</td><th>uno" for cell in cells)
    return f"<p>antes<table border=1>{rows}</table>despu\u00e9s"


@pytest.mark.parametrize("share", range(SHARES))
def test_a_broken_text_in_a_table_keeps_its_words_in_their_order(share: int) -> None:
    for number in range(share, MUTATIONS // 10, SHARES):
        html = tabled(Random(f"tabled {number}"))
        assert shown(xhtml(html)) == seen(html), (number, html)


def test_the_mutations_are_of_many_kinds() -> None:
    some = [mutated(Random(f"mutated {number}")) for number in range(300)]
    assert len(set(some)) > 290
    assert {"script", "svg", "math", "style", "img"} <= set(re.findall("[a-z]+", " ".join(some)))
