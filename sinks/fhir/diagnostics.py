"""A server's words about a refusal, without the values of the resource that they may quote.

HAPI quotes at will and does not escape: a narrative stands bare at the end of HAPI-1755, a quoted date may hold quotes.
So values are not sought: what is known to be the server's own is kept, from the beginning to where a value may begin.
"""

from __future__ import annotations

import re

LONGEST_RULE = 240  # characters of a server's words that are kept
LEFT_OUT = "…"

_BALANCED = r"\((?:[^()\"]|\((?:[^()\"]|\([^()\"]*\))*\))*\)"
PATH = rf"(?:[A-Z][A-Za-z]+|{_BALANCED})(?:\.\w+|\[\w*\]|{_BALANCED})*"
"""Where a resource refers: the expression of a search parameter, `Observation.subject.where(resolve() is Patient)`."""

REF = r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}"

_CAUSE = (  # HAPI-1821, after the value, which it gives escaped and then once more, bare
    r"Unknown [A-Z]\w+ code|Invalid date/time format|Invalid boolean string|Invalid Base64 content"
    r"|java\.lang\.NumberFormatException"
)
_EXCEPTION = r"(?:org|java|javax|ca|com)(?:\.[a-z]\w*)+\.[A-Z]\w*(?:Exception|Error)"

_OPENERS = "|".join(
    "A An Attempted Bad Can Cannot Client Contained Could Deletion Did Does Duplicate Error Expected Failed Found"
    " Incoming Invalid It Language Match Missing More Multiple Neither No Not Only Operation Parameter Payload"
    " Placeholder Reference References Request Requested Resource Resources Search Server Some Something String Tag The"
    " There This Timed Too Transaction Trying Unable Unexpected Unknown Unsupported Update User Value Version"
    " You".split()
)

_PIECES = (
    r"HAPI-\d{4}:?",
    r'\[element="[\w.\[\]]+"\]',
    rf"(?P<value>Invalid attribute value) \"[^\"]*\"(?:(?P<cause>: (?:{_CAUSE}))|:(?= Character))?",
    r"(?P<sign>Character) \S(?= is neither a decimal digit)",
    r"Error was:(?= HAPI-\d{4})",
    rf"access method:(?= {_EXCEPTION})",
    rf"{_EXCEPTION}(?::(?= (?:could not execute|Unable to|HAPI-\d{{4}}))|\b)",
    rf"specified in path: {PATH}",
    rf"at path '{PATH}'\.?",
    rf"at path\[{PATH}\] -",
    r"Does not contain resource type(?= -)",
    r"(?P<kind>Resource type) '[^']*'(?= is not valid for this path)",
    r"(?P<ident>with ID)\[[A-Za-z0-9\-._]*\],",
    rf"(?:with ID: )?{REF}(?:/_history/\d+)?",
    r"JSON encoded FHIR content: (?:Unexpected character|Unrecognized token)",
    r"after \d+ attempts with error\(s\):",
    r"(?:FHIR|JSON|XML|XHTML|HTML|XML/XHTML|IDs?|Infinite|NaN|Bundle|Resource|Transaction|Parse)(?=[\s,.;]|$)[,.;]?",
    r"[A-Z][A-Za-z]+(?:\.[a-z]\w*)+(?=[\s,;]|$)",  # an element: Bundle.type
    rf"(?:^|(?<=[.:·-] ))(?:{_OPENERS})(?=[\s,.;]|$)[,.;]?",  # a sentence begins; with another word it may be a name
    r"[a-z]+(?:[-/][a-z]+)*(?=[\s,.;]|$)[,.;]?",
    r"·",
)
_OWN = re.compile(rf"(?:{'|'.join(_PIECES)})(?:\s+|$|(?=:))")
_WHERE = (
    re.compile(rf"specified in path: ({PATH})"),
    re.compile(rf"at path ?['\[]({PATH})['\]]"),
    re.compile(r"\[element=\"([\w.\[\]]+)\"\]"),
)


def without_values(words: str) -> str:
    """The server's own words, up to where a value may begin, cut at `LONGEST_RULE`; empty for no words."""
    plain = own(words)
    return plain if len(plain) <= LONGEST_RULE else plain[: LONGEST_RULE - 1] + LEFT_OUT


def where(words: str) -> str:
    """The element or the path that the server's own words name; empty where they name none."""
    plain = own(words)
    return next((match[1] for pattern in _WHERE if (match := pattern.search(plain))), "")


def own(words: str) -> str:
    """The server's own words, uncut."""
    kept, at = "", 0
    while match := _OWN.match(words, at):
        kept += _piece(match)
        at = match.end()
    kept = kept.rstrip()
    return kept if at == len(words) or kept.endswith(LEFT_OUT) else f"{kept} {LEFT_OUT}".lstrip()


def _piece(match: re.Match[str]) -> str:
    """A piece as it is, or with the value inside it left out."""
    if match["value"]:
        return f"{match['value']} {LEFT_OUT}{match['cause'] or ''} "
    if match["ident"]:
        return f"{match['ident']} {LEFT_OUT}, "
    named = match["kind"] or match["sign"]
    return f"{named} {LEFT_OUT} " if named else match[0]
