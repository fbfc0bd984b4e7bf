"""What the recording that ships with the project becomes is what lies beside it: any change in a result is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.__main__ import main
from sources.cima.mapping import MAPPING_VERSION

RECORDING = Path(__file__).parents[2] / "jobs" / "recordings" / "cima"
EXPECTED = RECORDING / "expected"
WHAT_TO_DO = """\
the mapping gives another result. Look at the difference, raise MAPPING_VERSION if a row's result has changed, then run
python -m jobs verify jobs/recordings/cima --accept
"""


@pytest.fixture
def stock_jobs(monkeypatch: pytest.MonkeyPatch, logs_as_before: None) -> None:
    """The jobs of whoever has no job file."""
    monkeypatch.delenv("TSI_FETCH_CONFIG", raising=False)


def test_the_recording_becomes_what_was_accepted(stock_jobs: None, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["verify", str(RECORDING), "--json"])

    found = json.loads(capsys.readouterr().out)
    assert found["result"] == "as expected", WHAT_TO_DO + json.dumps(found["differences"], indent=1)
    assert code == 0


def test_it_was_accepted_with_todays_mapping() -> None:
    assert json.loads((EXPECTED / "mapping.json").read_bytes()) == {"mapping": MAPPING_VERSION}, WHAT_TO_DO


def test_it_has_products_and_texts_of_every_standing() -> None:
    def statuses(kind: str) -> set[str]:
        found = (json.loads(path.read_bytes())["status"] for path in (EXPECTED / "resources" / kind).glob("*.json"))
        return {status if isinstance(status, str) else json.dumps(status) for status in found}

    assert statuses("Composition") == {"final", "deprecated"}
    assert statuses("List") == {"current", "retired"}
    assert statuses("Ingredient") == {"active", "retired"}
    assert sum("Suspended" in status for status in statuses("RegulatedAuthorization")) == 1
    assert len(statuses("RegulatedAuthorization")) == 3
