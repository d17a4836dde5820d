"""HeterRec every night: validate, refresh, gate, warm start, export, publish, promote.

The tasks call the two command lines, each from its own environment, so Airflow's environment needs neither Beam nor PyTorch.
Put this file in the dags folder and set the Airflow variable `heterrec` to a JSON object: see README.md.
"""

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.sdk import Variable, dag, task

WRONG = 2
"""Exit code for a mistake in the call, the spec or the data: another try fails in the same way."""
FINAL = "NotPublishedError"
"""A failure with exit code 1 that needs a person, not another try: drift, or someone else moved latest.json."""


def run(program: str, *call: str) -> dict[str, Any]:
    """Run a command with --json and return its object.

    Args:
        program: key of the variable `heterrec` with the path of the command: `pipeline` or `model`.
        call: its arguments.

    Raises:
        AirflowFailException: the command says that another try would fail too.
        AirflowException: it failed in another way; the task is tried again.
    """
    command = [settings()[program], *call, "--json"]
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE)
    # A process that is killed prints nothing.
    answer: dict[str, Any] = json.loads(done.stdout or '{"message": "no answer"}')
    if done.returncode == 0:
        return answer
    message = f"{' '.join(command)}: exit code {done.returncode}\n{answer.get('message')}"
    if done.returncode == WRONG or answer.get("error") == FINAL:
        raise AirflowFailException(message)
    raise AirflowException(message)


def settings() -> dict[str, str]:
    """The variable `heterrec`."""
    found: dict[str, str] = Variable.get("heterrec", deserialize_json=True)
    return found


@dag(
    schedule="30 2 * * *",
    start_date=datetime(2025, 1, 1),
    catchup=False,  # a refresh reads the present input; missed nights cannot be made up for
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
    tags=["heterrec"],
)
def heterrec_daily() -> None:
    """One night: data first, then the model, and both become visible together at the end."""

    @task
    def validate() -> None:
        """Check the spec and samples of the input against the parent."""
        its = settings()
        run(
            "pipeline",
            "validate",
            "--base",
            its["output"],
            "--spec",
            its["spec"],
            "--input",
            its["input"],
        )

    @task
    def refresh() -> dict[str, str]:
        """Refresh the generation that latest.json names, without publishing it yet."""
        its = settings()
        given = ("--base", its["output"], "--spec", its["spec"], "--input", its["input"])
        manifest = run("pipeline", "refresh", *given, "--no-publish")["manifest"]
        return {
            "generation": manifest["generation"],
            "parent": manifest["parent"],
            "drift": manifest["drift"],
        }

    @task
    def gate(done: dict[str, str]) -> dict[str, str]:
        """The place for own conditions; a drift above `drift.fail` has already failed the task `refresh`."""
        if done["drift"] == "warn":
            print(f"{done['generation']} differs from {done['parent']}: see inspect --drift")
        return done

    @task(retries=1)
    def warm_start(done: dict[str, str]) -> dict[str, str]:
        """Train on the new generation from the run of its parent."""
        its, new = settings(), done["generation"]
        data = f"{its['output']}/generations/{new}"
        folder = Path(its["runs"]) / new
        before = str(folder.with_name(done["parent"]))
        given = ("--data", data, "--config", its["config"], "--run", str(folder))
        # An earlier try may have been interrupted.
        resume = ("--resume",) if folder.exists() else ()
        run("model", "train", *given, "--warm-start", before, *resume)
        return done

    @task(retries=1)
    def export(done: dict[str, str]) -> dict[str, str]:
        """Export the run as a bundle, and build its index; a bundle or an index of an earlier try is kept or replaced."""
        its, new = settings(), done["generation"]
        data, bundle = f"{its['output']}/generations/{new}", f"{its['bundles']}/{new}"
        run("model", "export", "--run", f"{its['runs']}/{new}", "--data", data, "--output", bundle)
        run("model", "index", "--bundle", bundle)
        return done

    @task
    def publish(done: dict[str, str]) -> dict[str, str]:
        """Let latest.json name the new generation, unless it no longer names the parent."""
        new, parent = done["generation"], done["parent"]
        run("pipeline", "publish", settings()["output"], "--generation", new, "--expect", parent)
        return done

    @task
    def promote(done: dict[str, str]) -> None:
        """Let the services take over the new bundle."""
        bundles = settings()["bundles"]
        bundle, pointer = f"{bundles}/{done['generation']}", f"{bundles}/current.json"
        run("model", "promote", "--bundle", bundle, "--pointer", pointer)

    refreshed = refresh()
    validate() >> refreshed
    promote(publish(export(warm_start(gate(refreshed)))))


heterrec_daily()
