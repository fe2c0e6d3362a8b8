#!/bin/sh
# slurm_entry.sh LIBRARY UMASK JOB_DIRECTORY...: what sbatch runs; Slurm makes a copy of this file elsewhere. Of several
# directories each belongs to one element of an array.
# shellcheck disable=SC2154  # layout.sh and Slurm set variables
library=$1 user_umask=$2
shift 2
shift "${SLURM_ARRAY_TASK_ID:-0}"
id=$SLURM_JOB_ID
[ -z "${SLURM_ARRAY_TASK_ID-}" ] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
# shellcheck source=/dev/null
. "$library/layout.sh"
exec 2>>"$1/$SJ_DIAGNOSTICS"
exec /bin/sh "$library/supervise.sh" "$1" "$user_umask" '' '' "$id" "${SLURM_RESTART_COUNT:-0}"
