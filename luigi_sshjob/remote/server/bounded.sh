# shellcheck shell=sh disable=SC2034,SC2154
# Bounded reads of the small files of a job, which the job itself or a person may have damaged: `read` takes a system
# call for each byte, and 40 MB without a newline would stall all jobs for half a minute. Their size takes a process, so
# it is looked at once, for many files together.

SJ_OVERSIZED=$newline
SJ_SMALL_FILES="$SJ_IDENTITY $SJ_RECORD $SJ_COLLECTED $SJ_CANCEL $SJ_SUBMISSION $SJ_DIAGNOSTICS $SJ_UNSETTLED $SJ_DIGESTS $SJ_CGROUP"

# bounded FILE: sets $bounded to the file, or to a copy of its first 8 KiB if it is known to be larger.
bounded() {
  bounded=$1
  case $SJ_OVERSIZED in *"$newline$1$newline"*) ;; *) return 0 ;; esac
  bounded=${1%/jobs/*}/lib/.look.$SJ_SELF.bounded
  privately dd if="$1" of="$bounded" bs=8192 count=1 2>/dev/null || bounded=/dev/null
}

# is_measured DIR: whether the sizes of the files in $measured, and no others, are known.
is_measured() {
  for measured_file in $SJ_SMALL_FILES; do
    case $measured in *",$measured_file,"*) ;; *) [ ! -s "$1/$measured_file" ] || return ;; esac
  done
}

# measure DIR: finds out which of its small files are too large.
measure() {
  measured_directory=$1
  set --
  for measured_file in $SJ_SMALL_FILES; do
    [ ! -s "$measured_directory/$measured_file" ] || set -- "$@" "$measured_directory/$measured_file"
  done
  [ $# -eq 0 ] || measure_files "$@"
}

# measure_watched: does that for the files of the loaded job that were not measured, and with the same process for those of
# the recent jobs, which may be needed soon; see watch.sh.
measure_watched() {
  save_job
  measured_number=$number
  set --
  for entry in "$number" $measurable; do
    [ $# -lt 400 ] || break
    load_job "${entry%:*}"
    for measured_file in $SJ_SMALL_FILES; do
      case $measured in *",$measured_file,"*) continue ;; esac
      [ -s "$watched/$measured_file" ] || continue
      [ "$measured" != - ] || measured=,
      measured=$measured$measured_file,
      set -- "$@" "$watched/$measured_file"
    done
    save_job
  done
  load_job "$measured_number"
  [ $# -eq 0 ] || measure_files "$@"
}

# measure_listed JOBS KEY/ATTEMPT...: does that for these attempts, for a page of a listing.
measure_listed() {
  measured_jobs=$1
  shift
  for measured_directory; do
    shift
    for measured_file in "$SJ_IDENTITY" "$SJ_RECORD" "$SJ_COLLECTED" "$SJ_DIGESTS"; do
      measured_file=$measured_jobs/$measured_directory/$measured_file
      [ ! -s "$measured_file" ] || set -- "$@" "$measured_file"
    done
  done
  [ $# -eq 0 ] || measure_files "$@"
}

# more than 15 blocks of 512 bytes
measure_files() {
  oversized=$(find -L "$@" -prune -size +15 2>/dev/null)
  [ -z "$oversized" ] || SJ_OVERSIZED=$SJ_OVERSIZED$oversized$newline
}
