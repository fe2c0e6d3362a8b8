# shellcheck shell=sh disable=SC2034,SC2154
# Slurm: its commands and states. docs/launchers.rst describes the functions of a scheduler's file. Facts are from the
# manual pages sbatch(1), squeue(1), sacct(1) and scancel(1) of Slurm 22.05.

launch_slurm() { schedule "$1"; }

slurm_name=Slurm

# slurm_submit NAME WORK_DIRECTORY OPTIONS DIR...: submits a job for each directory, several of them as an array; prints
# its number. OPTIONS are quoted words; the user's come last, and may override the others except where that is refused.
slurm_submit() {
  submitted_name=$1 submitted_from=$2 submitted_options=$3
  shift 3
  array=
  [ $# -eq 1 ] || array=--array=0-$(($# - 1))
  set -- "$library/slurm_entry.sh" "$library" "$SJ_UMASK" "$@"
  eval "set -- $submitted_options \"\$@\""
  submitted=$(sbatch --parsable --job-name="$submitted_name" --chdir="$submitted_from" --output=/dev/null \
    ${array:+"$array"} "$@") || return
  # a federation appends the cluster's name; a site's plugin may print lines before
  submitted=${submitted##*"$newline"}
  emit "${submitted%%;*}"
}

# slurm_element ID INDEX: prints the id of an array's element.
slurm_element() { emit "${1}_$2"; }

# slurm_transient STDERR: whether sbatch failed for a reason that may pass. AssocMaxSubmitJobLimit and similar are
# limits on the number of an account's jobs.
slurm_transient() {
  case $1 in
    *[Uu]'nable to contact slurm controller'* | *'Socket timed out'* | *'temporarily unable'* | *'Zero Bytes'* | \
      *'communication'* | *'Resource temporarily unavailable'* | *'onnection refused'* | *'onnection reset'* | \
      *'MaxSubmitJob'*) ;;
    *) return 1 ;;
  esac
}

# slurm_find NAME WORK_DIRECTORY [alive]: prints the number of that job of this account, if there is one; fails if Slurm
# does not respond. Ended jobs are known for MinJobAge, then to the accounting if there is one.
slurm_find() {
  states=--states=all
  [ "${3-}" != alive ] || states=
  found_jobs=$(squeue --me --noheader ${states:+"$states"} --name="$1" --format='%F|%Z') || return
  if match_directory "$2" || [ "${3-}" = alive ]; then return 0; fi
  found_jobs=$(sacct --noheader --allocations --parsable2 --name="$1" --starttime=now-7days --format=JobID,WorkDir \
    2>/dev/null) || return 0
  match_directory "$2" || return 0
}

match_directory() {
  while IFS='|' read -r found_job found_directory; do
    [ "$found_directory" != "$1" ] || { emit "${found_job%%_*}" && return; }
  done <<JOBS
$found_jobs
JOBS
  return 1
}

# slurm_list: prints a line ID|STATE|START|NODES|REASON for each job of this account, also for those that ended lately.
slurm_list() { squeue --me --noheader --array --states=all --format='%i|%T|%S|%N|%r'; }

# slurm_history IDS: the same from the accounting; fails if there is none.
slurm_history() {
  sacct --noheader --allocations --duplicates --parsable2 --delimiter='|' --jobs="$1" \
    --format=JobID,State,Start,NodeList,Reason
}

# slurm_kind STATE: sets $kind to queued, running, completing or ended; for the latter also $outcome. An unknown state
# means that Slurm knows the job.
slurm_kind() {
  outcome=
  case $1 in
    PENDING | CONFIGURING | REQUEUED | REQUEUE_* | SPECIAL_EXIT | RESV_DEL_HOLD) kind=queued ;;
    COMPLETING | STAGE_OUT) kind=completing ;;
    CANCELLED*) kind=ended outcome=cancelled ;;
    TIMEOUT | DEADLINE) kind=ended outcome=timed_out ;;
    OUT_OF_MEMORY | PREEMPTED) kind=ended outcome=killed ;;
    BOOT_FAIL | COMPLETED | FAILED | NODE_FAIL | REVOKED) kind=ended outcome=lost ;;
    *) kind=running ;;
  esac
}

# slurm_is_final STATE: whether the accounting can add nothing, such as the account that cancelled the job.
slurm_is_final() { [ "$1" != CANCELLED ]; }

# slurm_signal ID: sends TERM to the supervisor only, not to the command.
slurm_signal() { scancel --batch --signal=TERM "$1"; }

# slurm_cancel ID: Slurm sends TERM, and KILL after KillWait.
slurm_cancel() { scancel "$1"; }
