"""tsi-fetch check"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, log_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("check", short_help="Look whether everything is as it must be.")
@click.argument("job", type=JOB, required=False)
@config_option
@json_option
@log_option
@click.pass_obj
def command(voice: Voice, /, *, job: str | None, config: Path | None, as_json: bool, log: str | None) -> int:
    """Look at the job file, the stores, and every job's sink, source, clocks, lease and disk, or at what JOB needs;
    write nothing.

    \b
    tsi-fetch check
    tsi-fetch check cima
    tsi-fetch check --config new.yaml --json

    Each line is ok, or says what is wrong and what to do.  Exit code 78 where a person must mend something, 75 where
    something is down or full, 0 where all is well.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config))
    from jobs.checking import check
    from jobs.config.load import Reach, load_configuration
    from jobs.findings import Finding, exit_code
    from jobs.signals import listening

    reach = Reach(jobs=frozenset({job})) if job else None
    configuration = load_configuration(config, reach=reach, secrets=voice.secrets)
    if job:
        configuration.job(job)
    findings: list[Finding] = []
    with listening("check again") as stop:
        for finding in check(configuration, stop, job=job):
            findings.append(finding)
            if not as_json:
                voice.show(None, voice.place.completed(str(finding)))
    code = exit_code(findings)
    if as_json:
        voice.show({"findings": [finding.figures() for finding in findings], "exit_code": code}, "")
    return code
