"""What is plain is cleaned once: another round must never give anything else."""

from __future__ import annotations

from random import Random

import pytest

from tsi_fetch.fhir import narrative
from tsi_fetch.fhir.content_model import MODEL, plain

TAGS = "a img pre font u center table p button svg address caption colgroup form o:p ul".split()
TEXTS = ["", " ", "uno", " dos ", "\n", "&nbsp;", "\xa0", "&lt;", "&#1;", "&copy", "1 > 0", "\u2028", "\r\n", "/>"]
ATTRIBUTES = ["", "", ' class="x"', ' class=" "', ' style="text-align: center; color:red"', ' title="a/"', ' id="n"']


def made_up(rng: Random, within: str, depth: int) -> str:
    """Mostly what the content model allows, at times something else."""
    parts = []
    for _ in range(rng.randrange(4)):
        tag = rng.choice(sorted(MODEL[within]) if rng.random() < 0.98 else TAGS)
        inner = made_up(rng, tag if tag in MODEL else "span", depth + 1) if depth < 4 else "x"
        end = f"</{tag}>" if rng.random() < 0.98 else ""
        parts.append(f"{rng.choice(TEXTS)}<{tag}{rng.choice(ATTRIBUTES)}>{inner}{end}{rng.choice(TEXTS)}")
    return "".join(parts)


def test_what_is_plain_stays_as_it_is_when_it_is_cleaned_again() -> None:
    rng, seen = Random(6), 0
    for _ in range(400):
        once = narrative._div(narrative._cleaned(made_up(rng, "div", 0)), "")
        if plain(once):
            seen += 1
            assert narrative._div(narrative._cleaned(once), "") == once
    assert seen > 100


@pytest.mark.parametrize(
    "markup",
    [
        "<p>uno<b>dos</b><br/></p>",
        "<ul><li></li></ul>",
        "<table><tbody>\n<tr><td>1</td><td></td></tr></tbody></table>",
        "<div><blockquote><h3>T</h3><dl><dt>a</dt><dd><p>b</p></dd></dl></blockquote></div>",
    ],
)
def test_usual_texts_are_plain(markup: str) -> None:
    assert plain(f"{narrative.ROOT}{markup}</div>")


@pytest.mark.parametrize(
    "markup",
    [
        "<p><p>uno</p></p>",
        "<p><div>uno</div></p>",
        "<b><p>uno</p></b>",
        "<i></i>",
        "<a>uno</a>",
        '<img src="x" alt="y"/>',
        "<table><tbody><tr>\xa0<td>1</td></tr></tbody></table>",
        "<table><tr><td>1</td></tr></table>",
        "<li>uno</li>",
        "<div>" * 150 + "uno" + "</div>" * 150,
    ],
)
def test_what_a_reader_may_nest_otherwise_is_not_plain(markup: str) -> None:
    assert not plain(f"{narrative.ROOT}{markup}</div>")
