"""`permafrost doctor`: whether a run can succeed here, in a minute at most."""

import argparse
from dataclasses import asdict

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console

_EXAMPLES = """\
  permafrost doctor                  environment, devices, disk, params.yaml, a batch through every encoder
  permafrost doctor --no-encoders    the same in two seconds, without loading encoders"""
_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("doctor", run, "check whether a run can succeed here, in a minute at most", _EXAMPLES)
    command.add_argument("--no-encoders", action="store_true", help="leave out the batch through every encoder")
    command.add_argument("--seconds", type=float, default=60.0, help="when to begin no further encoder (60)")


def run(given: argparse.Namespace, console: Console) -> int:
    """A line for each check as it ends; exit code 1 if one of them is an error."""
    from pipeline.commands.checks import all_checks

    done = []
    for check in all_checks(encoders=not given.no_encoders, seconds=given.seconds):
        done.append(check)
        mark = console.styled(f"{check.state:7}", _STYLES[check.state])
        console.line(f"{mark}  {check.name}: {console.styled(check.text, 'dim' if check.state == 'ok' else 'bold')}")
    errors = sum(check.state == "error" for check in done)
    console.answer({"well": not errors, "checks": [asdict(check) for check in done]})
    console.line("all is well" if not errors else f"{errors} of {len(done)} checks failed")
    return int(errors > 0)
