"""The JSON Schema that editors complete the job file with."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from jobs.config.load import STOCK
from jobs.config.schema import FILE, render


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(FILE.read_text())


def test_the_committed_schema_is_the_one_the_models_give() -> None:
    assert FILE.read_text() == render(), "run: python -m jobs.config.schema"


def test_the_stock_file_fits_and_names_it_in_its_first_line(schema: Any) -> None:
    Draft202012Validator.check_schema(schema)
    text = STOCK.read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={FILE.name}"
    assert FILE.parent == STOCK.parent
    assert list(Draft202012Validator(schema).iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["jobs"]["cima"].update(shedule="x"),
        lambda file: file["jobs"]["cima"]["source"].update(rat=1),
        lambda file: file["jobs"]["cima"]["source"].update(kind="cyma"),
        lambda file: file["sinks"]["epi"].pop("url"),
        lambda file: file["jobs"]["cima"].update(validate="refuze"),
        lambda file: file["jobs"]["cima"].update(max_duration="soon"),
        lambda file: file["jobs"]["cima"].update(identity="hash"),
        lambda file: file["jobs"]["cima"].update(identity="prefix", prefix="a_b"),
        lambda file: file.update(job={}),
        lambda file: file["jobs"].update({"Not A Name": file["jobs"]["cima"]}),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(schema: Any, change: Any) -> None:
    file = yaml.safe_load(STOCK.read_text())
    change(file)
    assert list(Draft202012Validator(schema).iter_errors(file))


def test_a_placeholder_may_stand_for_any_value(schema: Any) -> None:
    file = yaml.safe_load(STOCK.read_text())
    file["jobs"]["cima"]["source"]["rate"] = "${RATE:-5}"
    file["jobs"]["cima"]["max_duration"] = "${LONGEST}"
    assert list(Draft202012Validator(schema).iter_errors(file)) == []


@pytest.mark.parametrize("text", ["off", "'off'", "warn", "${CHECKED}"])
def test_every_way_to_say_how_to_validate_fits(schema: Any, text: str) -> None:
    file = yaml.safe_load(STOCK.read_text())
    file["jobs"]["cima"]["validate"] = yaml.safe_load(text)
    assert list(Draft202012Validator(schema).iter_errors(file)) == []
