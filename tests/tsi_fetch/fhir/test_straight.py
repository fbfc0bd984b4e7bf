"""What is written straight from the tags is what the tree gives, cleaned until nothing changes."""

from __future__ import annotations

from random import Random

import pytest

from tsi_fetch.fhir import narrative
from tsi_fetch.fhir.content_model import MODEL, plain
from tsi_fetch.fhir.straight import straight
from tsi_fetch.fhir.tags import LOOKS, VOID

TAGS = "img pre font u ins center section menu dir svg a".split()
TEXTS = [
    "",
    "",
    " ",
    "uno",
    " dos ",
    "\n",
    "&nbsp;",
    "\xa0",
    "&lt;b&gt;",
    "&#1;",
    "&copy",
    "1 > 0",
    "\u2028",
    "\t",
    "&#13;",
]
ATTRIBUTES = [
    "",
    "",
    "",
    ' class="x&quot;&amp;&nbsp;y"',
    ' class=" "',
    ' style="text-align: center; color:red"',
    ' title="a>b"',
    ' id="n"',
    ' src="data:image/png;base64,iVBO/+9=" alt=" una  foto "',
    ' src="https://x.invalid/a.png"',
    ' src="https://cima.invalid/a.png"',
    ' href="https://x.invalid/"',
    ' href="/a"',
    ' src="a b.png"',
    " lang=es align='left'",
]
PARENTS = {
    "li": "ul",
    "dt": "dl",
    "dd": "dl",
    "tr": "tbody",
    "td": "tr",
    "th": "tr",
    **dict.fromkeys(("thead", "tbody", "tfoot"), "table"),
}


OURS = "https://cima.invalid/"


def by_tree(markup: str) -> str:
    """The slow way, alone."""
    div = narrative._div(narrative._cleaned(markup), OURS)
    while not plain(div) and (again := narrative._div(narrative._cleaned(div), OURS)) != div:
        div = again
    return div


def by_tags(markup: str) -> str | None:
    content = straight(narrative._cleaned(markup), OURS)
    return None if content is None else f"{narrative.ROOT}{content}</div>"


def made_up(rng: Random, within: str, depth: int) -> str:
    """What the content model allows, mostly, and what is rewritten as that."""
    parts = []
    for _ in range(rng.randrange(4)):
        tag = rng.choice(sorted(MODEL[within]) if rng.random() < 0.85 else TAGS)
        inner = made_up(rng, tag if tag in MODEL else "span", depth + 1) if depth < 4 else rng.choice(TEXTS)
        end = "" if tag in VOID else f"</{tag}>"
        parts.append(f"{rng.choice(TEXTS)}<{tag}{rng.choice(ATTRIBUTES)}>{'' if tag in VOID else inner}{end}")
    return "".join(parts) + rng.choice(TEXTS)


@pytest.mark.parametrize("seed", range(8))
def test_both_ways_give_the_same(seed: int) -> None:
    rng, seen = Random(seed), 0
    for _ in range(150):
        markup = made_up(rng, "div", 0)
        found = by_tags(markup)
        if found is not None:
            seen += 1
            assert found == by_tree(markup), markup
            assert narrative.xhtml(found, OURS) == found, markup
    assert seen > 30


def test_any_two_elements_that_may_stand_in_one_another_do_so_by_both_ways() -> None:
    named = {model: [model, *(tag for tag, look in LOOKS.items() if look.tag == model)] for model in MODEL}
    seen = 0
    for model in MODEL:
        for outer in named[model] if model != "narrative" else []:
            for child in MODEL[model]:
                for inner in named.get(child, [child]):
                    markup = _around(outer, f"\n<{inner}>" if inner in VOID else f"\n<{inner}>uno</{inner}> ")
                    found = by_tags(markup)
                    seen += found is not None
                    assert found in (None, by_tree(markup)), markup
    assert seen > 500


def _around(tag: str, content: str) -> str:
    markup = f"<{tag}>{content}{content}</{tag}> \n"
    while tag in PARENTS:
        tag = PARENTS[tag]
        markup = f"<{tag}> {markup}</{tag}>"
    return markup


@pytest.mark.parametrize(
    "markup",
    [
        "<p>uno <b>dos</b><br></p>\n<p>&nbsp;</p>",
        '<p class="MsoNormal" style="font-size:9pt"><span lang="ES">uno</span><u>dos</u></p>',
        "<table><tr><td>1<td><tr><td>2</table>",
        '<p><img src="data:image/png;base64,AAAA"></p>',
        "<p>uno<b></b><i><b></b></i> dos</p>",
        "1 &lt; 2 &amp; 3",
    ],
)
def test_usual_texts_need_no_tree(markup: str) -> None:
    assert by_tags(markup) == by_tree(markup)


@pytest.mark.parametrize(
    "clean",
    [
        '<p title="a>b">uno</p>',  # other versions of nh3 leave these two as they are
        '<p title="a<b">uno</p>',
        "<p>uno\rdos</p>",
        '<a href="https://x.invalid/">uno</a>',
        '<p>uno<span id="aqui"></span>dos</p>',
        "<p><p>uno</p></p>",
        "<table><tbody>uno<tr><td>1</td></tr></tbody></table>",
        '<img src="a b.png">',
        '<img src="https://x.invalid/a.png">',
        '<p>uno<input type="submit" value="dos"></p>',
        "<img>",
        "<p class=x>uno</p>",
        "<div>" * 120 + "uno" + "</div>" * 120,
    ],
)
def test_what_only_a_tree_can_tell_is_left_to_it(clean: str) -> None:
    assert straight(clean) is None
