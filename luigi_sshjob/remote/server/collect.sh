# shellcheck shell=sh disable=SC2154
# Marks outcomes as collected, and removes collected attempts.

# job_collect DIR BY: marks the outcome as collected; the next submission is a new attempt. The client has checked the
# outputs, see fs_missing.
job_collect() {
  [ ! -d "$1" ] || [ -e "$1/$SJ_COLLECTED" ] || privately mark_collected "$1" "$2"
}

# mark_collected DIR BY: the mark contains the exit record, too, for clients that still watch when the rest is removed.
mark_collected() {
  # not emptied yet if the attempt was lost
  [ ! -s "$1/$SJ_ENVIRONMENT" ] || true >"$1/$SJ_ENVIRONMENT"
  record=
  job_state "$1"
  case $job_state in
    ended) read_record "$1/$SJ_RECORD" ;;
    lost) record="outcome: lost${newline}reason: $job_reason" ;;
  esac
  submission_note "$1"
  [ ! -e "$submission_note" ] || rm -f "$submission_note"
  # in a single write; on a full disk an empty mark must do, and without a free inode that of another empty file
  {
    { emit "collected_by: $2${record:+$newline$record}" || true; } >"$1/$SJ_COLLECTED" ||
      mv "$1/$SJ_ENVIRONMENT" "$1/$SJ_COLLECTED"
  } 2>/dev/null || {
    unwritable "$1"
    refuse mark-not-written "cannot mark the outcome as collected in $1: $why"
  }
}

# assert_job_directory DIR: refuses other paths; sets $jobs_above to the directory of all jobs.
assert_job_directory() {
  jobs_above=${1%/*/*}
  case ${1##*/} in '' | *[!0-9]*) jobs_above= ;; esac
  if [ "${jobs_above##*/}" != jobs ] || [ -h "$1" ] || { [ -e "$1" ] && [ ! -O "$1" ]; }; then
    refuse not-a-job-directory "this is not a job directory: $1"
  fi
}

refuse_removal() { refuse job-not-collected "the job has not ended, or its outcome was not collected: $1"; }

# job_remove DIR: removes the files of an attempt that was collected. The mark stays, so that other clients see the
# outcome and the number is not reused; so do log and record if they are the output of the task.
job_remove() {
  assert_job_directory "$1" || return
  ended "$1" && [ -s "$1/$SJ_COLLECTED" ] || refuse_removal "$1" || return
  keep="/$SJ_COLLECTED/"
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  if [ "${1%/*}/$SJ_RECORD" -ef "$1/$SJ_RECORD" ]; then
    keep="$keep$SJ_SPEC/$SJ_LOG/$SJ_RECORD/$SJ_EXIT_CODE/"
  else
    # first, because the mark counts as the record only without it, see `ended`
    rm -f "$1/$SJ_SPEC" || return
  fi
  for removed in "$1"/* "$1"/.[!.]*; do
    case $keep in *"/${removed##*/}/"*) ;; *) rm -rf "$removed" || return ;; esac
  done
}

# job_discard DIR: removes all of an attempt that was collected and has ended or is lost, also its mark, by a single
# rename: a directory that is half removed could be taken for one that has not ended. While processes of an ended
# attempt are left, or may be on another machine, its mark stays: they have its number in their environment, and the next
# attempt with that number would find them.
job_discard() {
  [ -d "$1" ] || return 0
  assert_job_directory "$1" || return
  job_state "$1"
  case $job_state in ended | lost) ;; *) false ;; esac && [ -e "$1/$SJ_COLLECTED" ] || refuse_removal "$1" || return
  if [ "$job_state" = ended ] && { is_given_up "$1" || may_run "$1"; }; then
    job_remove "$1"
    return
  fi
  sweep "${jobs_above%/jobs}"
  privately discard "$1" "${jobs_above%/jobs}/lib/.stage.$SJ_SELF"
}

is_given_up() {
  read_record "$job_record"
  case $record in *"${newline}reason: given up by "*) ;; *) return 1 ;; esac
}

# discard DIR STAGE: with its last attempt the task's directory is removed, too, unless it contains an output.
discard() {
  mkdir -p "$2" && mv "$1" "$2/" && rm -rf "$2" || return
  rmdir "${1%/*}" 2>/dev/null || return 0
  task_directory=${1%/*}
  rm -f "${task_directory%/*}/.used.${task_directory##*/}"
}
