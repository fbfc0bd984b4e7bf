"""What is kept of a server's words about a refusal: everything that tells, and nothing that the resource holds."""

from __future__ import annotations

import pytest

from sinks.fhir.answers import absence, refusal
from sinks.fhir.documents import Reply
from tests.sinks.fake_hapi import outcome
from tsi_fetch.words import Ref

UNREADABLE = "HAPI-0450: Failed to parse request body as JSON resource. Error was: "
WRONG = UNREADABLE + 'HAPI-1821: [element="effectiveDateTime"] Invalid attribute value '
DANGLING = "HAPI-1094: Resource Patient/p1 not found, specified in path: "

WORDS = {
    "a narrative, bare": (
        UNREADABLE + 'HAPI-1755: String does not appear to be valid XML/XHTML (error is "Unexpected close tag </div>; '
        'expected </p>.\n at [row,col {unknown-source}]: [1,86]"): <div><p>jane roe: she "said" (aloud): it\'s',
        UNREADABLE + "HAPI-1755: String does not appear to be valid XML/XHTML …",
    ),
    "an entity": (
        UNREADABLE + 'HAPI-1755: String does not appear to be valid XML/XHTML (error is "Undeclared entity "roe"',
        UNREADABLE + "HAPI-1755: String does not appear to be valid XML/XHTML …",
    ),
    "a date with quotes": (
        WRONG + '"jane &quot;roe&quot; y": Invalid date/time format: "jane "roe" y"',
        WRONG + "…: Invalid date/time format …",
    ),
    "a date with quotes, not escaped": (
        WRONG + '"jane "roe": roe": Invalid date/time format: "jane"',
        UNREADABLE + 'HAPI-1821: [element="effectiveDateTime"] …',
    ),
    "a code": (WRONG + "\"roe\": Unknown ObservationStatus code 'roe'", WRONG + "…: Unknown ObservationStatus code …"),
    "Base64": (WRONG + '"roe": Invalid Base64 content: jane roe...', WRONG + "…: Invalid Base64 content …"),
    "a value and no cause": (WRONG + '"roe": ', WRONG + "…"),
    "a number": (
        WRONG + '"roe": Character r is neither a decimal digit number, decimal point, nor "e" notation',
        WRONG + "… Character … is neither a decimal digit number, decimal point, nor …",
    ),
    "an exception's words": (
        WRONG + '"roe": java.lang.NumberFormatException: For input string: "roe"',
        WRONG + "…: java.lang.NumberFormatException …",
    ),
    "no JSON": (
        UNREADABLE + "HAPI-1861: Failed to parse JSON encoded FHIR content: Unrecognized token 'roe': was expecting",
        UNREADABLE + "HAPI-1861: Failed to parse JSON encoded FHIR content: Unrecognized token …",
    ),
    "a type": (
        UNREADABLE + 'HAPI-1684: Unknown resource name "roe" (this',
        UNREADABLE + "HAPI-1684: Unknown resource name …",
    ),
    "a statement": (
        "HAPI-0389: Failed to call access method: org.hibernate.exception.DataException: could not execute batch "
        "[Batch entry 0 insert into t values ('jane roe')]",
        "HAPI-0389: Failed to call access method: org.hibernate.exception.DataException: could not execute batch …",
    ),
    "a surrogate": (
        "HAPI-2223: Expected low surrogate but got char 'b' with value 98 at index 7 in 'roe?b'",
        "HAPI-2223: Expected low surrogate but got char …",
    ),
    "tags": (
        "HAPI-2023: Tag get/create failed after 10 attempts with error(s): ",
        "HAPI-2023: Tag get/create failed after 10 attempts with error(s):",
    ),
    "an id": (
        "HAPI-0521: Can not process entity with ID[jane_roe], this is not a valid FHIR ID",
        "HAPI-0521: Can not process entity with ID …, this is not a valid FHIR ID",
    ),
    "a reference's type": (
        "HAPI-0931: Invalid reference found at path 'List.subject'. Resource type 'a roe' is not valid for this path",
        "HAPI-0931: Invalid reference found at path 'List.subject'. Resource type … is not valid for this path",
    ),
    "a reference without a type": (
        "HAPI-0505: Invalid resource reference found at path[List.subject] - Does not contain resource type - roe",
        "HAPI-0505: Invalid resource reference found at path[List.subject] - Does not contain resource type …",
    ),
    "a concept": (
        "HAPI-2528: Duplicate concept detected in CodeSystem: roe",
        "HAPI-2528: Duplicate concept detected in …",
    ),
    "an expression": (
        'HAPI-1120: SearchParameter.expression value "Patient.roe(" is invalid',
        "HAPI-1120: SearchParameter.expression value …",
    ),
    "a name in the words of another server": ("The patient Jane roe is refused", "The patient …"),
    "a dangling reference": (DANGLING + "Observation.subject", DANGLING + "Observation.subject"),
    "the same id twice": (
        "HAPI-0535: Transaction bundle contains multiple resources with ID: Organization/a",
        "HAPI-0535: Transaction bundle contains multiple resources with ID: Organization/a",
    ),
    "no value at all": (
        "HAPI-1101: Parameter value missing in request",
        "HAPI-1101: Parameter value missing in request",
    ),
}


def reply(words: str, status: int = 400) -> Reply:
    return Reply.of(outcome(status, words))


@pytest.mark.parametrize(("said", "kept"), WORDS.values(), ids=WORDS)
def test_the_servers_words_are_kept_up_to_where_a_value_may_begin(said: str, kept: str) -> None:
    rule = refusal(reply(said)).rule
    assert rule == kept
    assert "roe" not in rule


def test_a_refusal_without_words_says_its_status() -> None:
    assert refusal(reply("", 422)).rule == "the server answered 422"


def test_long_words_are_cut() -> None:
    assert len(refusal(reply("something is wrong " * 40)).rule) == 240


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (WRONG + '"[element="roe"]": Invalid', "effectiveDateTime"),
        ("HAPI-0931: Invalid reference found at path 'Organization.partOf'. Resource", "Organization.partOf"),
        ("HAPI-0505: Invalid resource reference found at path[Organization.partOf] - Does", "Organization.partOf"),
        (UNREADABLE + 'HAPI-1755: String "x" specified in path: Jane.roe', ""),
    ],
)
def test_the_path_is_the_servers_own(said: str, path: str) -> None:
    assert refusal(reply(said)).path == path


PATHS = [
    "Observation.subject",
    "Observation.subject.where(resolve() is Patient)",
    "Observation.component[1].value",
    "(Medication.ingredient.item as Reference)",
    "Condition.onset.as(Reference).where((resolve() is Patient) or (resolve() is Group))",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("more", ["", " · HAPI-1096: Resource Patient/p2 is deleted, specified in path: Group.member"])
def test_the_path_to_a_missing_target_is_kept_whole(path: str, more: str) -> None:
    found = absence(reply(DANGLING + path + more))
    assert found is not None
    assert (found.target, found.path) == (Ref("Patient", "p1"), path)
    assert refusal(reply(DANGLING + path + more)).path == path


def test_a_value_that_speaks_like_the_server_names_no_target() -> None:
    assert absence(reply(WRONG + f'"{DANGLING}Observation.subject": Invalid boolean string')) is None
