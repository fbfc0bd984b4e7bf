"""Does the sink hold what we sent?  One function, used by every answer to a stale version and by every checker.

Ignored, because servers change it on their own: key order, white space between tokens, the spelling of a number
(`1e2` is `100`; `1.00` is not `1.0`), entities in XHTML, `meta.versionId`, `meta.lastUpdated`, `meta.source`, the
order and repetition of `meta.tag`, `meta.security` and `meta.profile` (HAPI keeps sets, and sorts them when they are
read), the `display` of a tag or label (HAPI gives back the first one it ever saw for the code), the version in a
reference, white space in base64, comments and processing instructions in XHTML with the spaces before them (HAPI
writes four before each), and a resource-level `text` with status `generated` that was not sent, inside Bundles and
`contained` too (HAPI with narratives on adds one to some types when they are read).

The meta of an entry inside a Bundle is content: HAPI keeps all of it as it is written.  Of a contained resource's it
drops `versionId` and `lastUpdated`, which are ignored there.

Everything else counts, the order of arrays included; also what HAPI respells and nothing here could know: an address
under the server's own base, which comes back relative, and the `version` of a label, which it drops.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator

import msgspec
from lxml import etree

from tsi_fetch.fhir.digest import without_server_meta
from tsi_fetch.fhir.tokens import canonical, numeral, parse
from tsi_fetch.words import Json

_VERSIONED = re.compile(r"(.+)/_history/[A-Za-z0-9\-.]{1,64}")
_NAMED_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]*);")
_BEFORE_COMMENT = re.compile(r" +(?=<!--|<\?)")  # HAPI turns processing instructions into comments
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
_DROPPED_META = ("versionId", "lastUpdated")  # of a contained resource, by HAPI
_SETS = ("tag", "security", "profile")  # of a resource's own meta
_BASE64 = "valueBase64Binary"
_DATA = frozenset({"contentType", "sigFormat"})
"""What stands beside `data` where that is base64 (Binary, Attachment, Signature): the data of samples are a string."""
_SUBSTITUTED_ALT = "null"  # HAPI turns alt="" into alt="null"


def same(sent: bytes, held: bytes) -> bool:
    """True where `held`, read from a sink, is what a sink makes of `sent`.  NotJson where either is not JSON."""
    if sent == held:
        return True
    ours, theirs = parse(sent), parse(held)
    return _form(ours) == _form(without_added_text(theirs, ours))


def alike(one: bytes, other: bytes) -> bool:
    """True where a sink makes the same of both, of which each may be sent.  NotJson where either is not JSON."""
    return one == other or _form(parse(one)) == _form(parse(other))


def comparable(held: bytes, sent: bytes) -> tuple[Json, Json]:
    """Both parsed, as far as a sink lets them be compared: without what the server owns of the meta, narratives it has
    added, and another order of what it keeps as sets.  NotJson where either is not JSON."""
    ours, theirs = without_server_meta(parse(sent)), parse(held)
    theirs = without_server_meta(without_added_text(theirs, ours))
    if isinstance(theirs, dict) and isinstance(ours, dict):
        theirs = _in_the_order_of(theirs, ours)
    return theirs, ours


def _in_the_order_of(held: dict[str, Json], sent: dict[str, Json]) -> Json:
    """`held` with those lists of its meta as they were sent that are the same sets."""
    theirs, ours = held.get("meta"), sent.get("meta")
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return held
    same_sets = {
        name: ours[name]
        for name in _SETS
        if isinstance(ours.get(name), list)
        and isinstance(theirs.get(name), list)
        and _set(ours[name]) == _set(theirs[name])
    }
    return {**held, "meta": {**theirs, **same_sets}}


def spelling(node: Json, key: str = "") -> bytes:
    """The same bytes for all spellings of a part of a resource.  `key`: as `key_in` says of its place."""
    return canonical(_normal(node, key))


def key_in(node: Json, name: str) -> str:
    """By what the member `name` of an object is compared: its name, but for base64."""
    return _BASE64 if name == "data" and _DATA & node.keys() else name


def without_added_text(held: Json, sent: Json) -> Json:
    """`held` without the generated narratives that `sent` lacks."""
    if not isinstance(held, dict):
        return held
    ours = sent if isinstance(sent, dict) else {}
    result = dict(held)
    if "text" in held and generated(held) and "text" not in ours:
        del result["text"]
    if isinstance(contained := held.get("contained"), list):
        result["contained"] = [without_added_text(*pair) for pair in _pairs(contained, ours.get("contained"))]
    if held.get("resourceType") == "Bundle" and isinstance(entries := held.get("entry"), list):
        result["entry"] = [_entry(*pair) for pair in _pairs(entries, ours.get("entry"))]
    return result


def generated(resource: Json) -> bool:
    """True where the resource's narrative says that it was generated from the data."""
    text = resource.get("text")
    return isinstance(text, dict) and text.get("status") == "generated"


def _pairs(held: list[Json], sent: Json) -> Iterator[tuple[Json, Json]]:
    """Each with the one that was sent in its place; None where none was."""
    ours = sent if isinstance(sent, list) else []
    return itertools.zip_longest(held, ours[: len(held)])


def _entry(held: Json, sent: Json) -> Json:
    if not (isinstance(held, dict) and "resource" in held):
        return held
    ours = sent.get("resource") if isinstance(sent, dict) else None
    return {**held, "resource": without_added_text(held["resource"], ours)}


def _form(resource: Json) -> bytes:
    """What is compared: the same bytes for all spellings of one resource."""
    return canonical(_normal(_with_sets(without_server_meta(resource))))


def _with_sets(resource: Json) -> Json:
    """With the lists of its own meta sorted and without repetition.  Those of inner resources are kept as written."""
    meta = resource.get("meta") if isinstance(resource, dict) else None
    if not isinstance(meta, dict):
        return resource
    return {**resource, "meta": {k: _set(v) if k in _SETS and isinstance(v, list) else v for k, v in meta.items()}}


def _set(values: list[Json]) -> list[Json]:
    shown = [
        {k: v for k, v in value.items() if k != "display"} if isinstance(value, dict) else value for value in values
    ]
    members = {canonical(value): value for value in shown}
    return [members[key] for key in sorted(members)]


def _normal(node: Json, key: str = "") -> Json:
    if isinstance(node, dict):
        return {k: _normal(v, key_in(node, k)) for k, v in node.items()}
    if isinstance(node, list):
        children = [without_server_meta(c, _DROPPED_META) for c in node] if key == "contained" else node
        return [_normal(child, key) for child in children]
    if isinstance(node, msgspec.Raw):
        return msgspec.Raw(numeral(bytes(node).decode()).encode())
    if type(node) is int:  # no bool
        return msgspec.Raw(numeral(str(node)).encode())
    if isinstance(node, str):
        return _text(node, key)
    return node


def _text(value: str, key: str) -> str:
    if key == "reference":
        match = _VERSIONED.fullmatch(value)
        return match[1] if match else value
    if key == _BASE64:
        return _WHITE_SPACE.sub("", value)
    return canonical_xhtml(value) if key == "div" else value


def canonical_xhtml(div: str) -> str:
    """XHTML in canonical form (Canonical XML 2.0), entities resolved; the string itself where it is not well-formed."""
    root = xhtml_tree(div)
    if root is None:
        return div  # compared as it is: what cannot be parsed is equal only to itself
    for image in root.iter("{*}img"):
        if image.get("alt") in ("", _SUBSTITUTED_ALT):
            image.set("alt", _SUBSTITUTED_ALT)
    return etree.tostring(root, method="c14n", with_comments=False).decode()


def xhtml_tree(div: str) -> etree._Element | None:
    """The elements of XHTML, without comments, entities resolved; None where it is not well-formed."""
    plain = _NAMED_ENTITY.sub(lambda m: html.unescape(m[0]), _BEFORE_COMMENT.sub("", div))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        return etree.fromstring(plain.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        return None
