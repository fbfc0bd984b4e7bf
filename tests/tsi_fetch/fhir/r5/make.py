"""Makes the files of this folder anew from HL7's package: `npm pack hl7.fhir.r5.core@5.0.0`, then

    python tests/tsi_fetch/fhir/r5/make.py hl7.fhir.r5.core-5.0.0.tgz

`fhir.schema.json.xz` is HL7's file, compressed and otherwise as it is.  It does not ask for required primitives (their
`_name` may stand instead), knows few codes, and no target of a reference: `constraints.json` has these, from the
package's StructureDefinitions, ValueSets and CodeSystems.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGE_SHA256 = "09f22107bef64313545a50d2c127d20f81173c499a395672fae089bc23e72fab"
SCHEMA = "package/openapi/fhir.schema.json"

Json = Any


class Package:
    """The package's definitions by their kinds and addresses."""

    def __init__(self, tarball: bytes) -> None:
        self.structures: dict[str, Json] = {}
        self.others: dict[str, Json] = {}
        self.schema = b""
        with tarfile.open(fileobj=io.BytesIO(tarball)) as tar:
            for member in tar:
                self._take(tar, member)

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        kind = member.name.removeprefix("package/").partition("-")[0]
        content = tar.extractfile(member)
        if content is None:
            return
        if member.name == SCHEMA:
            self.schema = content.read()
        elif kind == "StructureDefinition":
            found = json.load(content)
            if found.get("derivation") == "specialization":
                self.structures[found["type"]] = found
        elif kind in ("ValueSet", "CodeSystem"):
            found = json.load(content)
            self.others[found["url"]] = found

    def codes(self, value_set: str) -> set[str] | None:
        """All codes of a value set; None where the package does not list them (languages, media types)."""
        found = self.others.get(value_set.partition("|")[0])
        if found is None or "exclude" in found["compose"]:
            return None
        result: set[str] = set()
        for include in found["compose"]["include"]:
            codes = self._included(include)
            if codes is None:
                return None
            result |= codes
        return result

    def _included(self, include: Json) -> set[str] | None:
        if "filter" in include or "valueSet" in include:
            return None
        if "concept" in include:
            return {concept["code"] for concept in include["concept"]}
        system = self.others.get(include["system"])
        if system is None or system.get("content") != "complete":
            return None
        return {concept["code"] for concept in _concepts(system.get("concept", []))}


def _concepts(nested: list[Json]) -> Iterator[Json]:
    for concept in nested:
        yield concept
        yield from _concepts(concept.get("concept", []))


def constraints(package: Package) -> dict[str, Json]:
    """Definition of the schema → what it leaves open: `required` names, `enum` of codes, `targets` of references."""
    definitions = json.loads(package.schema)["definitions"]
    result: dict[str, Json] = {}
    for name in sorted(package.structures):
        if name not in definitions:
            continue
        for element in package.structures[name]["snapshot"]["element"][1:]:
            owner, last = _owner(definitions, element["path"])
            if owner in definitions:
                _constrain(package, result.setdefault(owner, {}), last, element)
    return {owner: found for owner, found in result.items() if found}


def _owner(definitions: Json, path: str) -> tuple[str, str]:
    """The definition that holds an element, and the element's name in it."""
    owner, *steps = path.split(".")
    for step in steps[:-1]:
        child = definitions[owner]["properties"].get(step, {}) if owner in definitions else {}
        owner = child.get("$ref", child.get("items", {}).get("$ref", "#/definitions/")).rpartition("/")[2]
    return owner, steps[-1]


def _constrain(package: Package, found: Json, name: str, element: Json) -> None:
    types = [kind["code"] for kind in element.get("type", [])]
    if element["min"] > 0:
        names = [name] if not name.endswith("[x]") else [name[:-3] + t[0].upper() + t[1:] for t in types]
        found.setdefault("required", []).append(names)
    binding = element.get("binding", {})
    if types == ["code"] and binding.get("strength") == "required":
        codes = package.codes(binding["valueSet"])
        if codes:
            found.setdefault("enum", {})[name] = sorted(codes)
    if types == ["Reference"] or types == ["CodeableReference"]:
        targets = {url.rpartition("/")[2] for kind in element["type"] for url in kind.get("targetProfile", ())}
        if targets and "Resource" not in targets:
            found.setdefault("targets", {})[name] = sorted(targets)


def main(tarball: Path) -> None:
    content = tarball.read_bytes()
    if hashlib.sha256(content).hexdigest() != PACKAGE_SHA256:
        sys.exit(f"{tarball} is not hl7.fhir.r5.core 5.0.0 as the npm registry has it")
    package = Package(content)
    (HERE / "fhir.schema.json.xz").write_bytes(lzma.compress(package.schema, preset=9 | lzma.PRESET_EXTREME))
    lines = (f"{json.dumps(owner)}: {json.dumps(found)}" for owner, found in constraints(package).items())
    (HERE / "constraints.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
