# shellcheck shell=sh disable=SC2154
# What becomes of an attempt whose outcome was taken over.

# job_collect DIR BY: somebody has taken the outcome over; the next submit begins a new attempt.
job_collect() {
  [ ! -d "$1" ] || [ -e "$1/$SJ_COLLECTED" ] || privately mark_collected "$1" "$2"
}

# mark_collected DIR BY: the mark holds the record too, for who still watches when cleanup has removed the rest.
mark_collected() {
  # of a lost attempt nobody has emptied it
  [ ! -s "$1/$SJ_ENVIRONMENT" ] || true >"$1/$SJ_ENVIRONMENT"
  how=
  [ ! -e "$1/$SJ_RECORD" ] || while IFS= read -r shown; do how=$how$newline$shown; done <"$1/$SJ_RECORD"
  # in one write; on a full disk a mark that says nothing must do
  { emit "collected_by: $2$how" >"$1/$SJ_COLLECTED"; } 2>/dev/null || true >"$1/$SJ_COLLECTED" || {
    unwritable "$1"
    refuse mark-not-written "the mark of a collected outcome cannot be written in $1: $why"
  }
}

# job_remove DIR: an attempt that has ended and was collected, nothing else, and nothing but a directory that is an
# attempt's. The mark stays, small, for whoever else watches it and so that its number is not used again; log and record
# stay together where a task shows them as its output.
job_remove() {
  above=${1%/*/*} removed=${1##*/}
  case $removed in '' | *[!0-9]*) above= ;; esac
  [ "${above##*/}" = jobs ] && [ ! -h "$1" ] || refuse not-a-job-directory "this is no directory of a job: $1" || return 1
  ended "$1" && [ -s "$1/$SJ_COLLECTED" ] || refuse job-not-collected "the job has not ended or was not collected: $1" || return 1
  keep="/$SJ_COLLECTED/"
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  if [ "${1%/*}/$SJ_RECORD" -ef "$1/$SJ_RECORD" ]; then
    keep="$keep$SJ_SPEC/$SJ_LOG/$SJ_RECORD/$SJ_EXIT_CODE/"
  else
    # first: without it the mark counts, see `ended`
    rm -f "$1/$SJ_SPEC" || return
  fi
  for removed in "$1"/* "$1"/.[!.]*; do
    case $keep in *"/${removed##*/}/"*) ;; *) rm -rf "$removed" || return ;; esac
  done
}

# job_discard DIR: all of an attempt that has ended or is lost and was collected, its mark too. It leaves its place by one
# rename: of half an attempt somebody could think that it has not ended. The mark of one that has left processes running
# stays until they are gone: they carry its number, and to the next that has it they would be its own.
job_discard() {
  [ -d "$1" ] || return 0
  discarded=${1##*/} above=${1%/*/*}
  case $discarded in '' | *[!0-9]*) above= ;; esac
  [ "${above##*/}" = jobs ] && [ ! -h "$1" ] && [ -O "$1" ] || refuse not-a-job-directory "this is no directory of a job: $1" || return
  job_state "$1"
  case $job_state in ended | lost) ;; *) false ;; esac && [ -e "$1/$SJ_COLLECTED" ] ||
    refuse job-not-collected "the job has not ended or was not collected: $1" || return
  if [ "$job_state" = ended ] && lives "$1"; then
    job_remove "$1"
    return
  fi
  sweep "${above%/jobs}"
  privately discard "$1" "${above%/jobs}/lib/.stage.$SJ_SELF"
}

# discard DIR ASIDE: the task's own directory goes with its last attempt, unless it shows an output.
discard() {
  mkdir -p "$2" && mv "$1" "$2/" && rm -rf "$2" || return
  rmdir "${1%/*}" 2>/dev/null || return 0
  above=${1%/*}
  rm -f "${above%/*}/.used.${above##*/}"
}
