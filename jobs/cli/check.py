"""tsi-fetch check"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.options import config_option, json_option, log_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("check", short_help="Look whether everything is as it must be.")
@config_option
@json_option
@log_option
@click.pass_obj
def command(voice: Voice, config: Path | None, as_json: bool, log: str | None) -> int:
    """Look at the job file, the stores, the sinks and the sources; write nothing.

    \b
    tsi-fetch check
    tsi-fetch check --config new.yaml --json

    Each line is ok, or says what is wrong and what to do.  Exit code 78 where a setting is wrong, 75 where something
    is down, 0 where all is well.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config))
    from jobs.checking import Finding, as_figures, check, exit_code
    from jobs.config.load import load_configuration
    from jobs.signals import listening

    configuration = load_configuration(config, secrets=voice.secrets)
    findings: list[Finding] = []
    with listening() as stop:
        for finding in check(configuration, stop):
            findings.append(finding)
            if not as_json:
                voice.show(None, str(finding))
    if as_json:
        voice.show({"findings": [as_figures(finding) for finding in findings]}, "")
    return exit_code(findings)
