"""fhir.resources validates, in one place; faults give path and rule, never the value."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tsi_fetch.fhir.validation import R4_ONLY, validatable, validate
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


def test_what_cannot_be_validated_on_r4_is_told_and_nothing_else_is() -> None:
    assert not validatable("MedicinalProduct", "R4")
    assert validatable("MedicinalProduct", "R5")  # refused there, as R5 has no such type
    for kind in ("Organization", "ResearchDefinition", "Bundle"):
        assert validatable(kind, "R4")
        assert validate(f'{{"resourceType":"{kind}","id":"b"}}'.encode(), Ref(kind, "a"), "R4")


def test_only_types_are_passed_on_that_the_models_of_r4b_lack_or_shape_differently() -> None:
    reshaped = {"Evidence", "EvidenceVariable"}  # R4B took their shape from R5 (hl7.org/fhir/R4B, "R4B changes")
    there = {kind for kind in R4_ONLY if find_spec(f"fhir.resources.R4B.{kind.lower()}")}
    assert there == reshaped


def test_asking_whether_a_type_can_be_validated_loads_no_models() -> None:
    code = "import sys; from tsi_fetch.fhir.validation import validatable; validatable('Basic', 'R4'); "
    code += "sys.exit(any(name.startswith(('fhir', 'pydantic')) for name in sys.modules))"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0
