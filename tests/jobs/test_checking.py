"""`check` knows where a pod's files are gone with the pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import disk
from jobs.checking import check
from jobs.config.load import load_configuration
from jobs.disk import mounted
from jobs.findings import Finding, exit_code
from jobs.wiring import hastily
from sinks.fhir.options import FhirOptions
from sinks.folder import FolderOptions
from tsi_fetch.clock import StopSignal
from tsi_fetch.errors import Stopped

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

MOUNTS = """\
1 0 0:1 / / rw - overlay overlay rw
2 1 8:1 /var/lib/kubelet/pods/5f/volumes/kubernetes.io~empty-dir/data /data rw - ext4 /dev/sda1 rw
3 1 8:2 / /claim rw shared:1 - ext4 /dev/sdb rw
4 1 0:5 / /memory rw - tmpfs tmpfs rw
5 1 8:3 / /with\\040blank rw - xfs /dev/sdc rw
"""


def _job_file(folder: Path, store: str) -> Path:
    file = folder / "jobs.yaml"
    file.write_text(
        f"""\
stores: {{main: {{url: "{store}"}}}}
sinks: {{out: {{kind: folder, path: "{folder}/out"}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "http://127.0.0.1:9/x", attempts: 1}}
    sink: out
    store: main
    schedule: "0 1 * * *"
"""
    )
    return file


def _store_line(folder: Path, store: str, environ: dict[str, str]) -> Finding:
    configuration = load_configuration(_job_file(folder, store), environ={})
    return list(check(configuration, StopSignal(), environ))[1]


@pytest.mark.parametrize("place", ["/tmp/x.db", "/var/tmp/a/x.db", "/dev/shm/x.db"])
def test_a_store_on_a_temporary_path_is_wrong_in_a_pod(tmp_path: Path, place: str) -> None:
    finding = _store_line(tmp_path, f"sqlite:///{place}", POD)
    assert (finding.code, finding.fix) == (78, "use PostgreSQL, or put the file on a persistent volume")
    assert "is gone when the pod ends" in str(finding)


def test_elsewhere_a_person_may_keep_a_store_where_they_like(tmp_path: Path) -> None:
    assert _store_line(tmp_path, f"sqlite:///{tmp_path}/x.db", {}).code == 0


def test_what_holds_a_file_is_read_from_the_mounts(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert mounted(Path("/srv/x.db"), mounts) == ("overlay", "/")
    assert mounted(Path("/claim/x.db"), mounts) == ("ext4", "/")
    assert mounted(Path("/memory/x.db"), mounts) == ("tmpfs", "/")
    assert mounted(Path("/with blank/x.db"), mounts)[0] == "xfs"
    assert disk.EMPTY_DIR in mounted(Path("/data/deep/x.db"), mounts)[1]
    assert mounted(Path("/x"), tmp_path / "none") == ("", "")


def test_each_wrong_line_has_its_code_and_the_worst_decides(tmp_path: Path) -> None:
    configuration = load_configuration(_job_file(tmp_path, f"sqlite:///{tmp_path}/x.db"), environ={})
    findings = list(check(configuration, StopSignal(), POD))
    wrong = [finding for finding in findings if finding.code]
    assert [finding.what.partition(" (")[0] for finding in wrong] == ["store main", "cima: source cima"]
    assert ([finding.code for finding in wrong], exit_code(findings)) == ([78, 75], 78)
    assert exit_code([Finding("well"), wrong[1]]) == 75
    assert exit_code([Finding("well")]) == 0


def test_each_finding_is_told_as_it_is_known(tmp_path: Path) -> None:
    configuration = load_configuration(_job_file(tmp_path, f"sqlite:///{tmp_path}/x.db"), environ={})
    findings = check(configuration, StopSignal(), {})
    assert "1 job" in next(findings).what
    assert next(findings).what.startswith("store main")


def test_who_looks_has_less_patience_than_who_runs() -> None:
    options = FhirOptions.model_validate({"url": "https://fhir.invalid/epi", "attempts": 8, "max_wait": 300})
    hasty = hastily(options)
    assert (hasty.attempts, hasty.max_wait, hasty.url) == (2, 10, options.url)
    assert hastily(FolderOptions(path=Path("x"))) == FolderOptions(path=Path("x"))


def test_a_signal_ends_the_check_and_is_no_finding(tmp_path: Path) -> None:
    configuration = load_configuration(_job_file(tmp_path, f"sqlite:///{tmp_path}/x.db"), environ={})
    stop = StopSignal()
    stop.set(2)
    with pytest.raises(Stopped):
        list(check(configuration, stop, {}))
