"""The command line in a process of its own, with the source of these tests in its catalogue, libraries at DEBUG."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

from jobs import catalogue
from jobs.__main__ import main
from tests.silence.listening import LOGGERS

ENTRY = catalogue.Entry("tests.silence.patients:PatientsOptions", "tests.silence.patients:Patients")


def know_patients() -> None:
    """As whoever adds a source would: a line in the catalogue."""
    cast(dict[str, Any], catalogue.SOURCES)["patients"] = ENTRY


if __name__ == "__main__":
    know_patients()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    sys.exit(main())
