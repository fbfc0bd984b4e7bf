"""The manifests fit Kubernetes' own schemas, and agree with the commands and the jobs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from jobs.cli.group import cli
from jobs.config.load import STOCK, Configuration, Reach, load_configuration
from tsi_fetch.errors import Exit

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s-cronjobs" / "base"
VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")


def _kustomization() -> Any:
    return yaml.safe_load((BASE / "kustomization.yaml").read_text())


def _manifests() -> list[Any]:
    files = [BASE / name for name in _kustomization()["resources"]]
    return [manifest for file in files for manifest in yaml.safe_load_all(file.read_text())]


def _cron_jobs() -> list[Any]:
    return [manifest for manifest in _manifests() if manifest["kind"] == "CronJob"]


def _pod(cron_job: Any) -> Any:
    return cron_job["spec"]["jobTemplate"]["spec"]["template"]


def _containers(cron_job: Any) -> list[Any]:
    spec = _pod(cron_job)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.fixture(scope="module")
def stock() -> Configuration:
    return load_configuration(STOCK, environ={}, reach=Reach())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", _manifests(), ids=lambda m: f"{m['kind']}/{m['metadata']['name']}")
def test_every_manifest_fits_the_schema_strictly(manifest: Any, version: str) -> None:
    assert kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_of_the_base_is_listed() -> None:
    listed = {*_kustomization()["resources"], "kustomization.yaml"}
    assert {file.name for file in BASE.iterdir()} == listed


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_renders_the_base_with_the_image_of_this_version() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(BASE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {c["image"] for m in rendered if m["kind"] == "CronJob" for c in _containers(m)}
    assert images == {f"ghcr.io/gravitate-health/tsi-fetch:{version}"}
    for manifest in rendered:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("cron_job", _cron_jobs(), ids=lambda m: m["metadata"]["name"])
def test_every_container_runs_a_command_that_exists(cron_job: Any) -> None:
    for container in _containers(cron_job):
        assert "command" not in container, "the image's entry point is the command"
        context = click.Context(cli)
        command: click.Command | None = cli
        arguments = list(container["args"])
        while isinstance(command, click.Group):
            name = arguments.pop(0)
            command = command.get_command(context, name)
        assert command is not None
        assert command.make_context(name, arguments).params is not None


def _job_of(cron_job: Any) -> str:
    [container] = _pod(cron_job)["spec"]["containers"]
    assert container["args"][0] == "run"
    return str(container["args"][1])


def test_every_job_has_a_cron_job_and_every_cron_job_a_job(stock: Configuration) -> None:
    assert sorted(map(_job_of, _cron_jobs())) == sorted(stock.settings.jobs)


@pytest.mark.parametrize("cron_job", _cron_jobs(), ids=lambda m: m["metadata"]["name"])
class TestEveryCronJob:
    def test_it_runs_when_the_job_file_says(self, cron_job: Any, stock: Configuration) -> None:
        job = stock.job(_job_of(cron_job))
        assert (cron_job["spec"]["schedule"], cron_job["spec"]["timeZone"]) == (job.schedule, job.timezone)

    def test_it_is_found_as_a_connector_and_its_pods_have_no_sidecar(self, cron_job: Any) -> None:
        assert cron_job["metadata"]["labels"]["eu.gravitate-health.fosps.connector"] == "true"
        assert _pod(cron_job)["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"

    def test_it_never_runs_beside_itself_and_always_ends(self, cron_job: Any) -> None:
        spec, job = cron_job["spec"], cron_job["spec"]["jobTemplate"]["spec"]
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["startingDeadlineSeconds"] > 600
        assert job["backoffLimit"] >= 1
        assert job["ttlSecondsAfterFinished"] > 0
        assert _pod(cron_job)["spec"]["terminationGracePeriodSeconds"] > 130
        arguments = _containers(cron_job)[-1]["args"]
        hours = int(arguments[arguments.index("--max-duration") + 1].removesuffix("h"))
        assert hours * 3600 < job["activeDeadlineSeconds"] < 24 * 3600

    def test_no_retry_turns_a_red_night_green(self, cron_job: Any) -> None:
        job = cron_job["spec"]["jobTemplate"]["spec"]
        assert _pod(cron_job)["spec"]["restartPolicy"] == "Never"
        ignore, fail = job["podFailurePolicy"]["rules"]
        assert (ignore["action"], ignore["onPodConditions"]) == (
            "Ignore",
            [{"type": "DisruptionTarget", "status": "True"}],
        )
        assert (fail["action"], fail["onExitCodes"]["operator"]) == ("FailJob", "In")
        final = {Exit.USAGE, Exit.QUARANTINE, Exit.BUG, Exit.GUARDED, Exit.SETTING}
        assert set(fail["onExitCodes"]["values"]) == set(map(int, final))
        assert "containerName" not in fail["onExitCodes"], "a wrong store is final in the init container, too"

    def test_the_store_is_brought_up_to_date_first(self, cron_job: Any) -> None:
        [first] = _pod(cron_job)["spec"]["initContainers"]
        assert first["args"] == ["db", "upgrade"]

    def test_pods_are_restricted_as_the_pod_security_standard_says(self, cron_job: Any) -> None:
        pod = _pod(cron_job)["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in _containers(cron_job):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]

    def test_the_store_comes_from_a_secret_and_the_server_from_a_setting(self, cron_job: Any) -> None:
        for container in _containers(cron_job):
            assert {"secretRef": {"name": "tsi-fetch"}} in container["envFrom"]
        [settings] = [m for m in _manifests() if m["kind"] == "ConfigMap"]
        asked = set(re.findall(r"\$\{([A-Z_]+)", STOCK.read_text()))
        assert asked - {"NAME"} == settings["data"].keys() | {"TSI_FETCH_STORE"}


def test_the_service_account_has_no_token() -> None:
    [account] = [m for m in _manifests() if m["kind"] == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False


class TestTheImage:
    TEXT = (ROOT / "Dockerfile").read_text()
    LAST = TEXT[TEXT.rindex("\nFROM ") :]

    def test_it_runs_as_the_uid_of_the_manifests(self) -> None:
        [user] = re.findall(r"^USER (\d+):(\d+)$", self.LAST, re.MULTILINE)
        for cron_job in _cron_jobs():
            security = _pod(cron_job)["spec"]["securityContext"]
            assert (str(security["runAsUser"]), str(security["runAsGroup"])) == user

    def test_its_last_stage_installs_nothing(self) -> None:
        assert "RUN " not in self.LAST
        assert "slim" in self.LAST
        assert "HEALTHCHECK NONE" in self.LAST
        assert 'ENTRYPOINT ["tsi-fetch"]' in self.LAST

    def test_it_copies_every_package_of_the_wheel_and_ignores_the_rest(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        for package in packages:
            assert f"\nCOPY {package} {package}\n" in self.TEXT
            assert f"!{package}" in ignored
        for name in re.findall(r"^COPY (?!--from)(.+) \S+$", self.TEXT, re.MULTILINE):
            assert all(f"!{part}" in ignored for part in name.split())
        assert "*" in ignored
