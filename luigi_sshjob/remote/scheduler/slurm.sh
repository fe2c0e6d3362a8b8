# shellcheck shell=sh disable=SC2034,SC2154
# What is Slurm's own: its commands, its words. What a scheduler's file must answer is written in docs/launchers.rst.
# Facts are those of the manual pages sbatch(1), squeue(1), sacct(1) and scancel(1) of Slurm 22.05.

launch_slurm() { schedule "$1"; }

slurm_name=Slurm

# slurm_submit NAME WORK_DIRECTORY OPTIONS DIR...: submits one job for each directory, more than one as an array; prints
# the number. OPTIONS are quoted words. All of the user's come last, but for those that are refused there they may be ours.
slurm_submit() {
  submitted_name=$1 submitted_from=$2 submitted_options=$3
  shift 3
  array=
  [ $# -eq 1 ] || array=--array=0-$(($# - 1))
  set -- "$library/slurm_entry.sh" "$library" "$SJ_UMASK" "$@"
  eval "set -- $submitted_options \"\$@\""
  submitted=$(sbatch --parsable --job-name="$submitted_name" --chdir="$submitted_from" --output=/dev/null \
    ${array:+"$array"} "$@") || return
  # a federation adds the cluster's name; a site's plugin may print before
  submitted=${submitted##*"$newline"}
  emit "${submitted%%;*}"
}

# slurm_element ID INDEX: prints the number of an element of an array.
slurm_element() { emit "${1}_$2"; }

# slurm_transient WORDS: whether what sbatch said may be otherwise in a while. AssocMaxSubmitJobLimit and its like are the
# limits on how many jobs somebody may have there.
slurm_transient() {
  case $1 in
    *[Uu]'nable to contact slurm controller'* | *'Socket timed out'* | *'temporarily unable'* | *'Zero Bytes'* | \
      *'communication'* | *'Resource temporarily unavailable'* | *'onnection refused'* | *'onnection reset'* | \
      *'MaxSubmitJob'*) ;;
    *) return 1 ;;
  esac
}

# slurm_find NAME WORK_DIRECTORY [alive]: prints the number of such a job of this account, if there is one; fails where
# Slurm does not say. Those that have ended are known for MinJobAge, then to the accounting, where there is one.
slurm_find() {
  if [ "${3-}" = alive ]; then
    found_jobs=$(squeue --me --noheader --name="$1" --format='%F|%Z') || return
    match_directory "$2" || return 0
    return
  fi
  found_jobs=$(squeue --me --noheader --states=all --name="$1" --format='%F|%Z') || return
  match_directory "$2" && return
  found_jobs=$(sacct --noheader --allocations --parsable2 --name="$1" --starttime=now-7days --format=JobID,WorkDir \
    2>/dev/null) || return 0
  match_directory "$2" || return 0
}

match_directory() {
  while IFS='|' read -r found_job found_directory; do
    [ "$found_directory" != "$1" ] || { emit "${found_job%%_*}" && return; }
  done <<WORDS
$found_jobs
WORDS
  return 1
}

# slurm_list: prints a line ID|WORD|START|NODES|REASON for each job of this account, also of those that ended lately.
slurm_list() { squeue --me --noheader --array --states=all --format='%i|%T|%S|%N|%r'; }

# slurm_history IDS: the same from the accounting; fails where there is none.
slurm_history() {
  sacct --noheader --allocations --duplicates --parsable2 --delimiter='|' --jobs="$1" \
    --format=JobID,State,Start,NodeList,Reason
}

# slurm_kind WORD: sets $kind to waiting, running, leaving or over; then also $outcome. A word that is not known here
# says no more than that Slurm knows the job.
slurm_kind() {
  outcome=
  case $1 in
    PENDING | CONFIGURING | REQUEUED | REQUEUE_* | SPECIAL_EXIT | RESV_DEL_HOLD) kind=waiting ;;
    COMPLETING | STAGE_OUT) kind=leaving ;;
    CANCELLED*) kind=over outcome=cancelled ;;
    TIMEOUT | DEADLINE) kind=over outcome=timed_out ;;
    OUT_OF_MEMORY | PREEMPTED) kind=over outcome=killed ;;
    BOOT_FAIL | COMPLETED | FAILED | NODE_FAIL | REVOKED) kind=over outcome=lost ;;
    *) kind=running ;;
  esac
}

# slurm_who WORD: whether it tells all there is to know, or the accounting might say more: by whom a job was cancelled.
slurm_who() { [ "$1" != CANCELLED ]; }

# slurm_tell ID: TERM to the supervisor, not to what it runs.
slurm_tell() { scancel --batch --signal=TERM "$1"; }

# slurm_cancel ID: Slurm ends it by itself, with TERM and after KillWait with KILL.
slurm_cancel() { scancel "$1"; }
