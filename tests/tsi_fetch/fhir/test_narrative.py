"""HTML becomes the XHTML that FHIR allows: nothing active stays, no word goes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tsi_fetch.fhir.narrative import MAX_DEPTH, XMLNS, blank, paragraph, visible, xhtml

DIV = f'<div xmlns="{XMLNS}">'


def inside(fragment: str) -> str:
    div = xhtml(fragment)
    assert div.startswith(DIV)
    assert div.endswith("</div>")
    return div.removeprefix(DIV).removesuffix("</div>")


def letters(text: str) -> str:
    return re.sub(r"\s+", "", text)


HOSTILE = {
    "a script": ("<p>uno</p><script>alert(1)</script>", "<p>uno</p>"),
    "a script without end": ("<p>uno</p><script>alert(1)", "<p>uno</p>"),
    "an event attribute": ('<p onclick="x()" ONLOAD=y>uno</p>', "<p>uno</p>"),
    "a javascript link": ('<a href="java\nscript:x()">uno</a>', "<a>uno</a>"),
    "an encoded javascript link": ('<a href="&#106;avascript:x()">uno</a>', "<a>uno</a>"),
    "a data link": ('<a href=" DATA:text/html,x">uno</a>', "<a>uno</a>"),
    "a relative link": ('<a href="/cima/x.html">uno</a><a href="x">dos</a>', "<a>uno</a><a>dos</a>"),
    "a link to whatever scheme the page has": ('<a href="//x.invalid/">uno</a>', "<a>uno</a>"),
    "a link that is relative on some pages": ('<a href="https:x">uno</a><a href="#">dos</a>', "<a>uno</a><a>dos</a>"),
    "a link within the text": ('<a href="#x">uno</a>', '<a href="#x">uno</a>'),
    "a link that writes and one that calls": (
        '<a href="mailto:a@x.invalid">uno</a><a href="TEL:1">dos</a>',
        '<a href="mailto:a@x.invalid">uno</a><a href="TEL:1">dos</a>',
    ),
    "a harmless link": ('<a href="https://x.invalid/?a=1&b=2">uno</a>', '<a href="https://x.invalid/?a=1&amp;b=2">uno</a>'),
    "a style sheet": ('<style>p{}</style><link rel="stylesheet" href="x"><p>uno</p>', "<p>uno</p>"),
    "a frame": ("<iframe src=x>no</iframe><p>uno</p>", "<p>uno</p>"),
    "an object": ("<object data=x><p>uno</p></object><embed src=x>", "<p>uno</p>"),
    "a form": ("<form action=x><input name=1><p>uno</p></form>", "<p>uno</p>"),
    "buttons that are fields": (
        "<p>uno<input type=submit value='Enviar &lt;ya>'><input type=BUTTON value=Otra>dos</p>",
        "<p>uno Enviar &lt;ya&gt;  Otra dos</p>",
    ),
    "a field that is filled in": ("<p>1<input value=2>3<input type=text placeholder=4></p>", "<p>1 2 3 4 </p>"),
    "a field that is a picture": ("<p>uno<input type=image src=x alt=dos value=no></p>", "<p>uno dos </p>"),
    "fields whose value nobody is shown": (
        "<p>u<input type=hidden value=no>n<input type=checkbox value=no><input type=password value=no>o</p>",
        "<p>uno</p>",
    ),
    "options": ("<select><option>uno<option>dos</select>", "uno  dos"),
    "a button": ("uno<button>dos</button>tres", "uno dos tres"),
    "a base": ("<base href=//x.invalid><p>uno</p>", "<p>uno</p>"),
    "a meta refresh": ('<meta http-equiv="refresh" content="0"><p>uno</p>', "<p>uno</p>"),
    "a comment": ("<p>uno<!-- no --></p><!--[if IE]>no<![endif]-->", "<p>uno</p>"),
    "a comment that closes oddly": ("<p>uno<!-- no --!></p>", "<p>uno</p>"),
    "a processing instruction": ('<?xml:namespace prefix="o" ?><p>uno</p>', "<p>uno</p>"),
    "a doctype": ("<!DOCTYPE html><html><head><title>no</title></head><body><p>uno</p></body></html>", "<p>uno</p>"),
    "Word's own elements": ("<p>uno<o:p>&nbsp;dos</o:p></p>", "<p>uno\u00a0dos</p>"),
    "unclosed paragraphs": ("<p>uno<p>dos", "<p>uno</p><p>dos</p>"),
    "unclosed list items": ("<ul><li>uno<li>dos</ul>", "<ul><li>uno</li><li>dos</li></ul>"),
    "crossed elements": ("<b>uno<i>dos</b>tres</i>", "<b>uno<i>dos</i></b><i>tres</i>"),
    "a stray end": ("uno</div></p>dos", "unodos"),
    "attributes without quotes": ("<td>uno", "uno"),
    "an attribute twice": ('<p class="a" class="b">uno</p>', '<p class="a">uno</p>'),
    "entities": ("&aacute;&ndash;&nbsp;&copy 24 &lt;b&gt; &amp;amp; &x;", "á–\u00a0© 24 &lt;b&gt; &amp;amp; &amp;x;"),
    "a bare ampersand and less-than": ("a < b & c", "a &lt; b &amp; c"),
    "control characters": ("u\x00n\x0bo&#1;&#x1f; d\ufffeos", "uno dos"),
    "a lone surrogate": ("uno\ud800", "uno"),
    "carriage returns": ("uno&#13;dos\r\ntres", "uno\ndos\ntres"),
    "a wrapping div": ("<div>\n <div>uno</div>\n</div>", "uno"),
    "foreign namespaces": (f'{DIV}<div xmlns="urn:x" xml:space="preserve">uno</div></div>', "uno"),
    "two divs": ("<div>uno</div><div>dos</div>", "<div>uno</div><div>dos</div>"),
    "empty inline elements": ("uno<em></em><b><i></i></b><span></span>", "uno"),
    "an empty anchor": ('<a name="x"></a>uno', '<span id="x">\u200b</span>uno'),
    "an empty anchor behind a word": ('<p>uno<a name="x"></a></p>', '<p>uno<span id="x">\u200b</span></p>'),
    "an empty anchor before a block": ('<a name="x"></a>\n<p>uno</p>', '<p id="x">uno</p>'),
    "an empty anchor before a block with a name": (
        '<p>uno</p><a name="x"></a><p id="y">dos</p>',
        '<p>uno</p><p id="y">dos</p>',
    ),
    "two empty anchors": ('<a name="x"></a><a name="y"></a><p>uno</p>', '<p id="x">uno</p>'),
    "an empty block that links lead to": ('<div id="x"><p id="y"></p></div><p>uno</p>', '<p id="x">uno</p>'),
    "an empty block around an empty anchor": (
        '<p><b><a name="x"></a></b></p><ul><li>uno</li></ul>',
        '<ul id="x"><li>uno</li></ul>',
    ),
    "an empty block that links lead to, at the end": ('<p>uno</p><div id="x"></div>', "<p>uno</p>"),
    "an empty table that links lead to": ('<table id="x"></table>\n<p>uno</p>', '<p id="x">uno</p>'),
    "empty cells": (
        "<table><tr><td></td><td>uno</td></tr></table>",
        "<table><tbody><tr><td></td><td>uno</td></tr></tbody></table>",
    ),
    "void elements": ("uno<br>dos<hr>", "uno<br/>dos<hr/>"),
    "an image without alt": ('<img src="data:image/jpg,A">', '<img src="data:image/jpg,A" alt="imagen"/>'),
    "an image with an empty alt": (
        '<img alt=" " src="data:image/png;base64,A">',
        '<img alt="imagen" src="data:image/png;base64,A"/>',
    ),
    "an image from anywhere": ('<img src="https://tracker.invalid/x.gif">uno', "uno"),
    "an image from anywhere, with words": ('<p>uno <img alt="dos" src="//x.invalid/a.png"></p>', "<p>uno dos</p>"),
    "a relative image": ('<img alt="uno" src="SPC.FILES/image4.png">', "uno"),
    "an image of the page itself": ('<img alt="uno" src="#x">', "uno"),
    "an image with an active source": ('<img alt="uno" src="javascript:x()">', "uno"),
    "an image that is a page": ('<img alt="uno" src="data:text/html,x">', "uno"),
    "an svg": ("<svg onload=x><script>no</script><text>uno</text></svg>", "uno"),
    "a formula": ("<math><msup><mn>10</mn><mtext>6<b>a</b></mtext></msup></math>", "10  6<b>a</b>"),
    "styles that mean something": (
        '<p style="Text-Decoration : underline ; color:red; position:fixed;font-weight:bold">uno</p>',
        '<p style="text-decoration:underline;font-weight:bold">uno</p>',
    ),
    "a figure that is moved up": (
        '<p>10<span style="position:relative;top:-4.5pt">9</span>/l, '
        'm<span style="bottom:.3em;position:relative">2</span>'
        'H<span style="position: relative; top: 3pt !important">2</span>O</p>',
        '<p>10<span style="vertical-align:4.5pt">9</span>/l, m<span style="vertical-align:.3em">2</span>'
        'H<span style="vertical-align:-3pt">2</span>O</p>',
    ),
    "values with points and shouts": (
        '<p>10<span style="vertical-align:4.5pt">9</span> '
        '<b style="text-decoration-line: line-through !important">no</b></p>',
        '<p>10<span style="vertical-align:4.5pt">9</span> <b style="text-decoration-line:line-through">no</b></p>',
    ),
    "how a list counts": (
        '<ol style="list-style: lower-alpha inside"><li>uno</li></ol>',
        '<ol style="list-style-type:lower-alpha"><li>uno</li></ol>',
    ),
    "what its author hides otherwise": (
        '<p hidden>no</p><p style="display:none !important">no</p><p style="visibility:hidden">no</p>',
        '<p style="display:none">no</p><p style="display:none">no</p><p style="visibility:hidden">no</p>',
    ),
    "what its author hides": (
        '<p style="display: none">uno</p><p style="display:block">dos</p>',
        '<p style="display:none">uno</p><p>dos</p>',
    ),
    "a style that calls out": ('<p style="text-align:url(//x.invalid)">uno</p>', "<p>uno</p>"),
    "deprecated elements": (
        "<u>uno</u><s>dos</s><font color=red>tres</font><center>cuatro</center>",
        '<span style="text-decoration:underline">uno</span><span style="text-decoration:line-through">dos</span>'
        '<span>tres</span><div style="text-align:center">cuatro</div>',
    ),
    "newer blocks": ("<section>uno</section><article>dos</article>", "<div>uno</div><div>dos</div>"),
    "a block within a button": ("<p>uno<button><p>dos</p></button>tres", "<p>uno </p><p>dos</p> tres"),
    "quotes in attributes": ("<p title='a \"b\" <c>'>uno</p>", '<p title="a &quot;b&quot; &lt;c&gt;">uno</p>'),
    "apostrophes": ("<p title=\"l'eau\">d'or</p>", "<p title=\"l'eau\">d'or</p>"),
    "numbered lists": ('<ol start=3 type=a><li value=5>uno</ol>', '<ol start="3" type="a"><li value="5">uno</li></ol>'),
    "merged cells": (
        '<table border="1"><tr><td colspan="2" rowspan=3 bgcolor=red>uno</td></tr></table>',
        '<table border="1"><tbody><tr><td colspan="2" rowspan="3">uno</td></tr></tbody></table>',
    ),
    "nothing": ("", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_html_is_made_harmless(case: str) -> None:
    given_html, expected = HOSTILE[case]

    assert inside(given_html) == expected


@pytest.mark.parametrize("case", HOSTILE)
def test_cleaning_twice_is_cleaning_once(case: str) -> None:
    once = xhtml(HOSTILE[case][0])

    assert xhtml(once) == once


@pytest.mark.parametrize("depth", [MAX_DEPTH - 10, MAX_DEPTH + 1, 3_000])
@pytest.mark.parametrize("tag", ["b", "div", "ul"])
def test_nesting_beyond_any_reader_keeps_its_words(depth: int, tag: str) -> None:
    div = xhtml(f"<{tag}>" * depth + "hondo" + f"</{tag}>" * depth + "<p>después</p>")

    assert letters("".join(etree.fromstring(div).itertext())) == "hondodespués"


def test_a_picture_of_many_megabytes_neither_goes_nor_ends_the_text() -> None:
    picture = "data:image/jpg;base64," + "A" * 11_000_000

    div = inside(f'<p>antes</p><img alt="x" src="{picture}"><p>después</p>')

    assert div == f'<p>antes</p><img alt="x" src="{picture}"/><p>después</p>'


@pytest.mark.parametrize("fragment", ["", "<p> </p>", "<div><p>&nbsp;</p>\n</div>", "<p>&#8203;</p>", "<br>"])
def test_a_fragment_that_shows_nothing_is_blank(fragment: str) -> None:
    assert blank(xhtml(fragment))


OURS = "https://cima.invalid/"

PICTURES = {
    "https://cima.invalid/a.png": True,
    "HTTPS://Cima.Invalid/a.png": True,
    " https://cima.invalid/a b.png": True,
    "http://cima.invalid/a.png": False,
    "https://cima.invalid": False,
    "https://cima.invalid.x.invalid/a.png": False,
    "https://cima.invalid@x.invalid/a.png": False,
    "https://cima.invalid:1/a.png": False,
    "https://cima.invalid\\@x.invalid/a.png": False,
    "https:\\\\cima.invalid/a.png": False,
    "//cima.invalid/a.png": False,
    "/a.png": False,
    "data:image/png;base64,AAAA": True,
    "data:text/html,x": False,
}


@pytest.mark.parametrize("address", PICTURES)
def test_a_picture_comes_with_the_text_or_from_the_source_of_it(address: str) -> None:
    for around in ("{}", "<p>uno<a href='#x'>{}</a></p>"):  # the second one takes a tree
        div = xhtml(around.format(f'<img alt="dos" src="{address}">'), pictures=OURS)
        assert ("<img " in div) is PICTURES[address]
        assert xhtml(div, pictures=OURS) == div
        assert "dos" in div


def test_fields_nested_beyond_any_reader_keep_their_words() -> None:
    div = xhtml("<b>" * 300 + "uno<input type=submit value='dos > <b>'>tres")

    assert visible(div).split() == ["uno", "dos", ">", "<b>", "tres"]


@pytest.mark.parametrize("fragment", ["0", "<p>&nbsp;x</p>", '<img src="data:image/png;base64,A">'])
def test_a_word_or_a_picture_is_not_blank(fragment: str) -> None:
    assert not blank(xhtml(fragment))


def test_the_words_of_two_blocks_stay_apart_and_those_of_inline_elements_do_not() -> None:
    assert visible(xhtml("<p>un<b>o</b></p><p>dos &lt; tres</p>")).split() == ["uno", "dos", "<", "tres"]


def test_plain_text_becomes_one_paragraph() -> None:
    assert paragraph("4.8. <tomar> & usar\x00") == f"{DIV}<p>4.8. &lt;tomar&gt; &amp; usar</p></div>"


@pytest.mark.parametrize("name", ["sin", "SIN", "real", "text", "mn", "g", "tomar", "x:y"])
def test_words_beside_a_name_of_formulas_and_drawings_stay(name: str) -> None:
    """Templates leave their choices behind (`con <con><sin> alimentos`), which nobody closes."""
    assert xhtml(f"<p>con <{name}>dos</{name}> tres</p>").split() == xhtml("<p>con <x-x>dos</x-x> tres</p>").split()
    assert letters(visible(xhtml(f"<div><p>con <con><{name}> agua</p><p>dos</p></div>"))) == "conaguados"


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufeff"), max_size=6)
TAGS = ["p", "div", "b", "u", "span", "center", "section", "blockquote", "em", "font", "o:p", "h2"]


def element(children: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    def joined(tag: str, parts: list[tuple[str, str]]) -> tuple[str, str]:
        return f"<{tag}>{''.join(html for html, _ in parts)}</{tag}>", "".join(text for _, text in parts)

    return st.builds(joined, st.sampled_from(TAGS), st.lists(children, max_size=4))


def leaf(word: str) -> tuple[str, str]:
    return word.replace("&", "&amp;").replace("<", "&lt;"), word


@given(st.recursive(words.map(leaf), element, max_leaves=12))
def test_no_visible_word_is_lost(fragment: tuple[str, str]) -> None:
    html, text = fragment

    div = xhtml(html)

    root = etree.fromstring(div)
    assert root.tag == f"{{{XMLNS}}}div"
    assert letters("".join(root.itertext())) == letters(text)
    assert div.count("xmlns=") == 1 + text.count("xmlns=")


SCRAPS = [
    "<p>", "</p>", "<div>", "</div>", "<b>", "</b>", "<u>", "</u>", "<table>", "<tr>", "<td>", "</td>", "</table>",
    "<ul>", "<li>", "</ul>", "<a href='x'>", "<a name=n>", "</a>", "<center>", "</center>", "<section>", "<button>",
    "<select>", "<option>", "<form>", "</form>", "<pre>\n", "</pre>", "<svg>", "<math>", "<mi>", "<text>", "<br>",
    "<img src=x>", "<img src='data:image/gif;base64,A'>", "<input type=submit value='a>b'>", "<input value=", "'>",
    "<script>", "</script>", "<style>", "<!--", "-->", "<![CDATA[", "]]>", "<?x", "&", "&lt", "&copy", "&#0;", "&#1;",
    "'", '"', "<", ">", "uno", " dos ", "\n", "\x00", "\r", "<o:p>", "<div xmlns='urn:x'>", "<p style='x:y'>",
    "<h1>", "<dl>", "<dt>", "<caption>", "<span id=s>", "</span>", "<template>", "<textarea>", "<title>", "<plaintext>",
]  # fmt: skip


@given(st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join))
def test_whatever_comes_is_well_formed_harmless_and_stable(fragment: str) -> None:
    div = xhtml(fragment)

    root = etree.fromstring(div)
    assert root.tag == f"{{{XMLNS}}}div"
    assert not {etree.QName(el).localname for el in root.iter()} & {"script", "style", "form", "iframe", "object", "u"}
    assert xhtml(div) == div
