"""Look up known vulnerabilities of the versions in requirements.lock with pip-audit, which installs and resolves nothing.

    python dependencies/audit.py        (or make audit)

Exit codes: 0 none are known; 1 some are, without an exception in exceptions.toml; 2 the exceptions or the lock are wrong;
3 not or not completely audited, because the service is not reachable or does not know a package.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from files import LOCK, Pin, WrongFileError, canonical, read_entries, read_lock

FOLDER = Path(__file__).resolve().parent
FOUND, WRONG, NOT_AUDITED = 1, 2, 3
TODO = (
    'Raise the versions: make lock LOCK_ARGS="--upgrade-package NAME". '
    "Or add exceptions with their reasons to dependencies/exceptions.toml."
)
KEYS = {"id": str, "package": str, "reason": str, "review": date}
CAUSE = re.compile(r"^(?:requests|urllib3)\S*: .*|^ERROR:.*", re.M)


class NotAuditedError(Exception):
    """The service gave no answer."""


@dataclass
class Audit:
    """What the service said: vulnerabilities by package and version, and the packages that it does not know."""

    found: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    audited: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)


def read_exceptions(path: Path) -> list[dict[str, Any]]:
    """The entries of the file.

    Raises:
        WrongFileError: see read_entries.
    """
    exceptions = read_entries(path, {"exception": KEYS})["exception"]
    return [entry | {"package": canonical(entry["package"])} for entry in exceptions]


def layers(pins: list[Pin]) -> Iterator[list[Pin]]:
    """The pins in lists in which each package has one version, as pip-audit expects."""
    while pins:
        first = {pin.name: pin for pin in reversed(pins)}
        yield list(first.values())
        pins = [pin for pin in pins if pin not in first.values()]


def run_pip_audit(pins: list[Pin], arguments: list[str], seconds: float) -> Audit:
    """Audit all pins.

    Args:
        pins: the versions.
        arguments: more arguments of pip-audit.
        seconds: when to give up.

    Raises:
        NotAuditedError: no answer in time, or the service is not reachable.
    """
    result, until = Audit(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), *arguments]
        command += ["--require-hashes", "--disable-pip", "--format=json", "--timeout=10"]
        command += ["--progress-spinner=off"]
        for layer in layers(pins):
            file.write_text("\n".join(map(str, layer)), encoding="utf-8")
            left = max(0, until - time.monotonic())
            try:
                ran = subprocess.run(command, capture_output=True, text=True, timeout=left)
                add(result, json.loads(ran.stdout)["dependencies"])
            except subprocess.TimeoutExpired:
                raise NotAuditedError(f"no complete answer in {seconds:g} s") from None
            except ValueError:
                causes = CAUSE.findall(ran.stderr) or ran.stderr.strip().splitlines() or ["?"]
                raise NotAuditedError(causes[-1][:300]) from None
    if not result.audited:
        raise NotAuditedError(f"the service knows none of the {len(pins)} packages")
    return result


def add(result: Audit, dependencies: list[dict[str, Any]]) -> None:
    """Sort pip-audit's answer into the result."""
    for dependency in dependencies:
        name = canonical(dependency["name"])
        if "skip_reason" in dependency:
            result.unknown.append(name)
            continue
        result.audited.add(name)
        version = dependency["version"]
        result.found += [(name, version, vulnerability) for vulnerability in dependency["vulns"]]


def useless(exceptions: list[dict[str, Any]], pins: list[Pin], today: date) -> dict[int, str]:
    """The reason why an exception does not count, by its position."""
    names = {pin.name for pin in pins}
    reasons = {}
    for position, entry in enumerate(exceptions):
        if entry["package"] not in names:
            reasons[position] = "its package is not in the lock; remove the exception"
        elif entry["review"] < today:
            reasons[position] = f"expired on {entry['review']}; review it, or remove it"
    return reasons


def ids(vulnerability: dict[str, Any]) -> list[str]:
    """The id of a vulnerability and its aliases."""
    return [vulnerability["id"], *vulnerability.get("aliases", [])]


def report(audit: Audit, exceptions: list[dict[str, Any]]) -> int:
    """Print the vulnerabilities without exception, and exceptions without vulnerability; returns the exit code."""
    accepted = {(entry["package"], entry["id"]) for entry in exceptions}
    reported = {(package, name) for package, _, one in audit.found for name in ids(one)}
    for package, name in sorted(accepted - reported):
        if package in audit.audited:
            say(f"warning: exception {name} of {package} is not reported any more; remove it")
    if audit.unknown:
        names = ", ".join(sorted(audit.unknown))
        say(f"not completely audited: the service does not know {names}")
    left = 0
    for package, version, one in sorted(audit.found, key=lambda found: found[:2]):
        if not any((package, name) in accepted for name in ids(one)):
            left += 1
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            say(f"{package} {version}: {', '.join(ids(one))}, fixed in {fixed}")
    if left:
        say(f"found {left} known vulnerabilities. {TODO}")
        return FOUND
    if audit.unknown:
        return NOT_AUDITED
    kept = f" without exception, {len(audit.found)} with" if audit.found else ""
    say(f"{len(audit.audited)} packages have no known vulnerabilities{kept}")
    return 0


def say(text: str) -> None:
    """Print a message of the audit."""
    print(f"audit: {text}")


def main() -> int:
    """Run the audit; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--exceptions", type=Path, default=FOLDER / "exceptions.toml")
    parser.add_argument(
        "--service",
        choices=("pypi", "osv"),
        default="pypi",
        help="who is asked; osv does not say which packages it does not know",
    )
    parser.add_argument("--osv-url", help="the address of osv, for a mirror")
    parser.add_argument("--seconds", type=float, default=90, help="when to give up (default: 90)")
    options = parser.parse_args()
    arguments = [f"--vulnerability-service={options.service}"]
    if options.osv_url:
        arguments.append(f"--osv-url={options.osv_url}")
    try:
        pins, exceptions = read_lock(options.lock), read_exceptions(options.exceptions)
    except WrongFileError as error:
        say(str(error))
        return WRONG
    reasons = useless(exceptions, pins, datetime.now(UTC).date())
    for position, reason in reasons.items():
        entry = exceptions[position]
        say(f"exception {entry['id']} of {entry['package']}: {reason}")
    valid = [entry for position, entry in enumerate(exceptions) if position not in reasons]
    try:
        code = report(run_pip_audit(pins, arguments, options.seconds), valid)
    except NotAuditedError as error:
        say(f"not audited: {error}")
        code = NOT_AUDITED
    return WRONG if reasons and code != FOUND else code


if __name__ == "__main__":
    sys.exit(main())
