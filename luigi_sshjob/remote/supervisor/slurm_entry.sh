#!/bin/sh
# slurm_entry.sh LIBRARY UMASK JOB_DIRECTORY...: the script that sbatch runs, from a copy that Slurm makes. Each of
# several directories belongs to one element of an array.
# shellcheck disable=SC2154  # layout.sh and Slurm set variables
library=$1 user_umask=$2
shift 2
shift "${SLURM_ARRAY_TASK_ID:-0}"
SSHJOB_SCHEDULER_ID=$SLURM_JOB_ID SSHJOB_RESTARTS=${SLURM_RESTART_COUNT:-0}
[ -z "${SLURM_ARRAY_TASK_ID-}" ] || SSHJOB_SCHEDULER_ID=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
export SSHJOB_SCHEDULER_ID SSHJOB_RESTARTS
# shellcheck source=/dev/null
. "$library/layout.sh"
exec 2>>"$1/$SJ_DIAGNOSTICS"
exec /bin/sh "$library/supervise.sh" "$1" "$user_umask"
