"""fhir.resources validates, in one place; faults give path and rule, never the value."""

from __future__ import annotations

import pytest

from tsi_fetch.fhir.validation import validate
from tsi_fetch.words import Ref


def test_a_valid_resource_has_no_faults() -> None:
    assert validate(b'{"resourceType":"Organization","id":"a","name":"x"}', Ref("Organization", "a"), "R5") == ()


@pytest.mark.parametrize(
    ("body", "ref", "release", "code"),
    [
        (b'{"resourceType":"Organization","id":"a","secret":"hush"}', Ref("Organization", "a"), "R5", "fhir-invalid"),
        (b'{"resourceType":"Organization","id":"b"}', Ref("Organization", "a"), "R5", "fhir-id"),
        (b'{"resourceType":"HumanName","id":"a"}', Ref("HumanName", "a"), "R5", "fhir-unknown-type"),
        (b'{"resourceType":"Os","id":"a"}', Ref("os.path", "a"), "R5", "fhir-unknown-type"),
        (
            b'{"resourceType":"Bundle","id":"a","type":"document","entry":[{"resource":{"resourceType":"Nope"}}]}',
            Ref("Bundle", "a"), "R5", "fhir-unknown-type",
        ),
        (b'{"resourceType":"Patient","id":"a","birthDate":"hush"}', Ref("Patient", "a"), "R4", "fhir-invalid"),
    ],
)  # fmt: skip
def test_faults_name_path_and_rule_but_never_the_value(body: bytes, ref: Ref, release: str, code: str) -> None:
    fault = validate(body, ref, release)[0]
    assert fault.code == code
    assert "hush" not in repr(fault)


def test_types_that_only_r4_has_pass_unvalidated() -> None:
    assert validate(b'{"resourceType":"MedicinalProduct","id":"a"}', Ref("MedicinalProduct", "a"), "R4") == ()
