#!/bin/sh
# scheduler_entry.sh LIBRARY UMASK JOB_ID INDEX RESTARTS SIGNALS JOB_DIRECTORY...: the script that a scheduler runs on a node,
# perhaps from a copy of its own. Each of several directories belongs to one element of an array. JOB_ID, INDEX and
# RESTARTS are expansions of variables that the scheduler sets, see `Scheduler` in launchers/scheduler.py; so is SIGNALS,
# "one" or "all".
# shellcheck disable=SC2154  # layout.sh sets variables
library=$1 user_umask=$2
eval "SSHJOB_SCHEDULER_ID=$3 index=$4 SSHJOB_RESTARTS=$5 SSHJOB_SIGNALS=$6"
# that of the command which submitted it, and which may be ended by its time limit
unset SSHJOB_LIMITED
export SSHJOB_SCHEDULER_ID SSHJOB_RESTARTS SSHJOB_SIGNALS
shift 6
shift "$index"
# by its literal name: all that can be said if the scripts are missing
exec 2>>"$1/supervisor.log"
[ -r "$library/supervise.sh" ] || {
  echo "luigi_sshjob: a script is missing on $(uname -n): $library/supervise.sh" >&2
  exit 1
}
exec /bin/sh ${BASH_VERSION+-p} "$library/supervise.sh" "$1" "$user_umask"
