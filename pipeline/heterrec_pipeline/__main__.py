"""The command line: `heterrec-pipeline build | validate | plan | inspect | embed`, one file per command in `commands`.

Exit codes: 0 done, 1 a failure of the run, 2 a mistake in the call, the spec or the data.
"""

from heterrec_pipeline.commands import app
from heterrec_pipeline.runtime.startup import exit_soon


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as end:
        exit_soon(end.code)
        raise


if __name__ == "__main__":
    main()
