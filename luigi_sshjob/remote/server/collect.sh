# shellcheck shell=sh disable=SC2034,SC2154,SC2317
# Marks outcomes as collected, and removes collected attempts.

# job_collect DIR BY: marks the outcome as collected; the next submission is a new attempt. The client has checked the
# outputs, see fs_missing.
job_collect() {
  [ ! -d "$1" ] || [ -e "$1/$SJ_COLLECTED" ] || privately mark_collected "$1" "$2"
}

# job_retry DIR BY GRACE: as job_collect, for an attempt that the next one of the same run follows. Responds with a part
# "collected" and the mark if the outcome was collected before, or "gone" if the attempt was removed. Nothing of it may run
# on: with a GRACE of "-" it responds with a part "alive" if there may be processes on this machine, else it ends them first,
# and responds so if that has failed.
job_retry() {
  if [ ! -d "$1" ]; then
    part gone 0
  elif [ -e "$1/$SJ_COLLECTED" ]; then
    part collected 0
    show "$1/$SJ_COLLECTED"
  elif leaves_processes "$1" &&
    { [ "$3" = - ] || [ "$job_state" != ended ] || [ -n "$left_elsewhere" ] || ! end_processes "$1" "$3"; }; then
    part alive 0
    emit "$job_reason"
  else
    privately mark_collected "$1" "$2"
  fi
}

# leaves_processes DIR: whether the attempt has not ended, or processes of it may be left on this machine; or on another one,
# where nobody can look for them: then sets $left_elsewhere.
leaves_processes() {
  left_elsewhere=
  measure "$1"
  job_state "$1"
  case $job_state in
    # they were looked for
    lost) if [ -n "$job_dead" ]; then return 1; else return 0; fi ;;
    ended) ;;
    *) return 0 ;;
  esac
  relation=other
  [ ! -s "$1/$SJ_IDENTITY" ] || { read_identity "$1/$SJ_IDENTITY" && compare_machines; }
  # a scheduler has ended all of it
  if [ "$relation" = other ] && [ ! -s "$1/$SJ_LAUNCH" ]; then
    left_elsewhere=yes job_reason="it ran on another machine, where processes of it may be left"
    return 0
  fi
  [ "$relation" = same ] || job_command=''
  leftovers_live "$1"
}

# remove_cgroup DIR: the control group of an attempt, which its supervisor has not removed if it was killed.
remove_cgroup() {
  [ -s "$1/$SJ_CGROUP" ] || return 0
  measure "$1"
  bounded "$1/$SJ_CGROUP"
  read -r group <"$bounded"
  # a job may have written to the file
  case $group in *..*) ;; /sys/fs/cgroup/sshjob-*) remove_group "$group" ;; esac
}

# remove_temporary_outputs DIR: of an attempt whose supervisor was killed before it could remove them. Their names are
# in the spec; it is refused to remove that as long as they exist.
remove_temporary_outputs() {
  remove_cgroup "$1"
  [ -s "$1/$SJ_TEMPORARY" ] && [ -s "$1/$SJ_SPEC" ] || return 0
  within 10 remove_outputs_of "$1" || refuse outputs-not-removed "temporary outputs of a job cannot be removed: $1"
}

# remove_outputs_of DIR: in a process of its own, as the spec sets variables.
remove_outputs_of() (
  removed_number=0 removal_failed=0 removed_directory=$1
  output() {
    removed_number=$((removed_number + 1))
    # a spec of an earlier version has no token
    remove_unfinished "${2%/*}/.sshjob-${token:-$tag-${removed_directory##*/}}-$removed_number" "$2" || removal_failed=1
  }
  returned_output() { output "$1" "$removed_directory/$SJ_RETURNED/$2/$3"; }
  input() { :; }
  own_input() { :; }
  own_tree() { :; }
  token='' tag=''
  # shellcheck source=/dev/null
  . "$1/$SJ_SPEC"
  [ "$removal_failed" -eq 0 ] && true >"$1/$SJ_TEMPORARY"
)

# mark_collected DIR BY: the mark contains the exit record, too, for clients that still watch when the rest is removed.
mark_collected() {
  # not emptied yet if the attempt was lost
  [ ! -s "$1/$SJ_ENVIRONMENT" ] || true >"$1/$SJ_ENVIRONMENT"
  record=
  job_state "$1"
  # in the background, because their file system may not respond; what is left is removed with the attempt
  case $job_state in
    ended | lost)
      remove_cgroup "$1"
      if [ -s "$1/$SJ_TEMPORARY" ]; then { trap - EXIT && remove_outputs_of "$1"; } </dev/null >/dev/null 2>&1 & fi
      ;;
  esac
  case $job_state in
    ended) read_record "$1/$SJ_RECORD" ;;
    lost) record="outcome: lost${newline}reason: $job_reason${job_dead:+${newline}proved_dead: yes}" ;;
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
  remove_temporary_outputs "$1" || return
  keep="/$SJ_COLLECTED/$SJ_FORGOTTEN/"
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  if [ "${1%/*}/$SJ_RECORD" -ef "$1/$SJ_RECORD" ]; then
    keep="$keep$SJ_SPEC/$SJ_LOG/$SJ_RECORD/$SJ_EXIT_CODE/"
  else
    # first, because the mark counts as the record only without it, see `ended`
    rm -f "$1/$SJ_SPEC" || return
  fi
  for removed in "$1"/* "$1"/.[!.]*; do
    case $keep in *"/${removed##*/}/"*) ;; *) remove_tree "$removed" || return ;; esac
  done
}

# job_forget DIR: marks a collected attempt, of which files may be left, so that listings leave it out.
job_forget() {
  [ -d "$1" ] || return 0
  assert_job_directory "$1" || return
  [ -e "$1/$SJ_COLLECTED" ] || refuse_removal "$1" || return
  privately mark_forgotten "$1"
}

mark_forgotten() { true >"$1/$SJ_FORGOTTEN"; }
