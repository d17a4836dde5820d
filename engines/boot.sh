#!/bin/sh
# Starts a Beam worker as a process on this machine, for `--environment_type=PROCESS`. Beam's boot binary must be in the
# folder of this script. `make engines` puts both into .engines.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# The boot binary calls `python`, which must be the one with this package.
PATH="${HETERREC_WORKER_PATH:-$here/../.venv/bin}:$PATH"
# Use that environment instead of creating one in /opt.
RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
export PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT
# Prism writes --id='worker' with literal quotes, and a worker with quotes in its id is never found. Remove them.
for argument in "$@"; do
    shift
    case $argument in
        "--id='"*"'") argument="--id=${argument#--id=\'}" && argument=${argument%\'} ;;
    esac
    set -- "$@" "$argument"
done
# The boot binary writes files to the working folder and to its semi-persistent one; Prism runs in a temporary folder.
exec "$here/boot" --semi_persist_dir="$PWD" "$@"
