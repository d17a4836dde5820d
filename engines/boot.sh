#!/bin/sh
# Starts a Beam worker as a process of this machine: what `--environment_type=PROCESS` calls, with Beam's boot binary
# beside this script. `make engines` puts both into .engines.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# The boot binary calls `python`: it must be the one that has this package.
PATH="${HETERREC_WORKER_PATH:-$here/../.venv/bin}:$PATH"
# Use that environment as it stands, instead of making one in /opt.
RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
export PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT
# Prism writes --id='worker', with the quotes as a part of the id: a worker of that name would never be found.
for argument in "$@"; do
    shift
    case $argument in
        "--id='"*"'") argument="--id=${argument#--id=\'}" && argument=${argument%\'} ;;
    esac
    set -- "$@" "$argument"
done
# The boot binary leaves files in the working folder and in its semi-persistent one; Prism runs in a temporary folder.
exec "$here/boot" --semi_persist_dir="$PWD" "$@"
