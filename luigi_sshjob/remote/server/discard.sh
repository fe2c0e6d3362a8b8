# shellcheck shell=sh disable=SC2034,SC2154,SC2317
# Removes whole attempts, and with the last one of a task what is left of it.

# job_discard DIR: removes all of an attempt that was collected and has ended or is lost, also its mark.
job_discard() { job_set_aside "$1" && job_discard_aside; }

# job_set_aside DIR: the same, but leaves its files to job_discard_aside, which removes those of many attempts with few
# processes. By a single rename: a directory that is half removed could be taken for one that has not ended. While
# processes of an ended attempt are left, or may be on another machine, its mark stays: they have its number in their
# environment, and the next attempt with that number would find them.
job_set_aside() {
  [ -d "$1" ] || return 0
  assert_job_directory "$1" || return
  job_state "$1"
  case $job_state in ended | lost) ;; *) false ;; esac && [ -e "$1/$SJ_COLLECTED" ] || refuse_removal "$1" || return
  # those of one base directory at a time
  [ "$jobs_above" = "$SJ_ASIDE" ] || {
    job_discard_aside && logs_in_use && physical_path "$jobs_above" || return
    SJ_ASIDE=$jobs_above aside_physical=$physical
  }
  if [ "$job_state" = ended ] && { is_given_up "$1" || is_in_use "$1"; }; then
    job_remove "$1"
    return
  fi
  privately keep_number "$1" || {
    job_remove "$1"
    return
  }
  remove_temporary_outputs "$1" || return
  sweep "${jobs_above%/jobs}"
  aside=${jobs_above%/jobs}/lib/.stage.$SJ_SELF
  [ -d "$aside" ] || privately mkdir -p "$aside" || return
  # a name of its own, because attempts of other tasks have the same number
  asides=$((asides + 1))
  mv "$1" "$aside/$asides" || return
  task_directory=${1%/*}
  case " $SJ_ASIDE_TASKS " in *" ${task_directory##*/} "*) ;; *) SJ_ASIDE_TASKS="$SJ_ASIDE_TASKS ${task_directory##*/}" ;; esac
}

# attempts_removed BASE KEY: sets $attempts_removed to the highest number of those of a task with a pool, or to 0.
attempts_removed() {
  attempts_removed=''
  [ ! -s "$1/pools/$2/removed" ] || read -r attempts_removed <"$1/pools/$2/removed"
  case $attempts_removed in '' | *[!0-9]* | ??????????*) attempts_removed=0 ;; esac
}

# keep_number DIR: before an attempt of a task with a pool is removed. The number is not used again, because a client that was
# delayed may still claim the attempt after the one that its placement names.
keep_number() {
  pool_key=${1%/*}
  pool_key=${pool_key##*/} pool_base=${1%/jobs/*}
  [ -d "$pool_base/pools/$pool_key" ] || return 0
  attempts_removed "$pool_base" "$pool_key"
  [ "${1##*/}" -gt "$attempts_removed" ] || return 0
  pool_place=$pool_base/pools/$pool_key/removed
  { emit "${1##*/}" >"$pool_place.$SJ_SELF" && mv -f "$pool_place.$SJ_SELF" "$pool_place"; } 2>/dev/null && return
  rm -f "$pool_place.$SJ_SELF"
  return 1
}

# logs_in_use: sets $logs_in_use to lines with the logs that the processes of jobs have in their environment; to nothing
# if that cannot be determined. A few processes do it for all jobs; what begins later is a child of one of these. The last
# line shows that all were read.
logs_in_use() {
  logs_in_use=${newline}SSHJOB_LOG=.
  [ -r /proc/self/stat ] || return 0
  logs_in_use=$newline$(
    {
      cat /proc/[0-9]*/environ 2>/dev/null
      # 1: environments of other accounts are unreadable
      [ $? -le 1 ] && printf '\0%s\0' SSHJOB_LOG=.
    } | tr '\0' '\n' | grep -a ^SSHJOB_LOG=
  )
  return 0
}

# is_in_use DIR: whether a process of this attempt lives, or that is unknown.
is_in_use() {
  case $logs_in_use$newline in *"$newline"SSHJOB_LOG=."$newline"*) ;; *) return 0 ;; esac
  for log in "$1/$SJ_LOG" "$aside_physical${1#"$SJ_ASIDE"}/$SJ_LOG"; do
    # of a path with a line break only the first line is known
    case $logs_in_use$newline in *"${newline}SSHJOB_LOG=${log%%"$newline"*}$newline"*) return 0 ;; esac
  done
  return 1
}

is_given_up() {
  read_record "$job_record"
  case $record in *"${newline}reason: given up by "*) ;; *) return 1 ;; esac
}

has_attempts() {
  for found in "$1"/[0-9]*; do
    [ ! -e "$found" ] || return 0
  done
  return 1
}

SJ_ASIDE='' SJ_ASIDE_TASKS='' asides=0

# job_discard_aside: removes the files of all attempts that were set aside. With its last attempt the task's directory is
# removed, too, unless it contains an output.
job_discard_aside() {
  [ -n "$SJ_ASIDE" ] || return 0
  kept=
  for key in $SJ_ASIDE_TASKS; do
    has_attempts "$SJ_ASIDE/$key" || set_leftovers_aside "$SJ_ASIDE/$key"
  done
  remove_tree "${SJ_ASIDE%/jobs}/lib/.stage.$SJ_SELF" || return
  (
    cd "$SJ_ASIDE" || exit
    # shellcheck disable=SC2086  # keys have no blanks; a task that has another attempt keeps its directory
    rmdir $kept $SJ_ASIDE_TASKS 2>/dev/null
    for key in $SJ_ASIDE_TASKS; do
      [ -d "$key" ] || [ ! -e ".used.$key" ] || rm -f ".used.$key"
    done
  )
  SJ_ASIDE='' SJ_ASIDE_TASKS=
}

# set_leftovers_aside TASK: what a task without attempts has kept for the next one, unless that is being made. Adds the directory
# to $kept if it is empty.
set_leftovers_aside() {
  if [ -d "$1/$SJ_KEPT" ] && [ ! -h "$1/$SJ_KEPT" ] && ! has_entries "$1/$SJ_KEPT"; then
    kept="$kept ${1##*/}/$SJ_KEPT"
  elif [ -e "$1/$SJ_KEPT" ] || [ -h "$1/$SJ_KEPT" ]; then
    asides=$((asides + 1))
    mv "$1/$SJ_KEPT" "$aside/$asides" || return
    ! has_attempts "$1" || mv "$aside/$asides" "$1/$SJ_KEPT"
  fi
}
