# shellcheck shell=sh disable=SC2034,SC2154
# Listings of jobs for people. All verbs respond in parts.

# job_survey BASE: status and last lines of each attempt, and the times of all.
job_survey() {
  job_index=0
  measure_listed "$1/jobs"
  for listed in "$1"/jobs/*/[0-9]*; do
    [ -d "$listed" ] || continue
    survey_job "$listed" 500
    job_index=$((job_index + 1))
  done
  write_times "$1/jobs" '*/[0-9]*'
}

# survey_job DIR BYTES: the status, and that many bytes from the end of the log.
survey_job() {
  job_state "$1"
  part directory "$job_index"
  emit "$1"
  write_status "$1" -
  if [ -e "$1/$SJ_COLLECTED" ]; then
    collector=
    read -r collector <"$1/$SJ_COLLECTED"
    part collected "$job_index" yes
    emit "$collector"
  fi
  if [ -s "$1/$SJ_LOG" ]; then
    part tail "$job_index"
    tail -c "$2" "$1/$SJ_LOG"
  fi
}

# write_times JOBS ATTEMPTS: the current time, and a line "TIME KEY/ATTEMPT/FILE" for each file whose time dates a
# state. Other output of stat does not have this form.
write_times() {
  part times 0 "$(date +%s)"
  [ ! -d "$1" ] || (
    cd "$1" || exit
    # GNU's and busybox's stat, or that of the BSDs
    if stat -c %Y . >/dev/null 2>&1; then flag=-c format='%Y %n'; else flag=-f format='%m %N'; fi
    # shellcheck disable=SC2086  # a pattern
    for listed in $2; do
      # xargs interprets quotes; names of this package have none
      case $listed in *[!A-Za-z0-9_./-]*) continue ;; esac
      for file in "$SJ_SPEC" "$SJ_STARTED" "$SJ_RECORD" "$SJ_COLLECTED" "$SJ_LOG"; do
        [ ! -e "$listed/$file" ] || emit "$listed/$file"
      done
    done | xargs -n 200 stat "$flag" "$format" 2>/dev/null || :
  )
}

# job_show DIR: everything about an attempt except its environment, and the end of its log.
job_show() {
  job_index=0
  measure "$1"
  survey_job "$1" 5000
  [ ! -r "$1/$SJ_SPEC" ] || (show_spec "$1")
  for shown_file in "$SJ_COMMAND" "$SJ_DIAGNOSTICS"; do
    [ -s "$1/$shown_file" ] || continue
    part "$shown_file" 0
    show "$1/$shown_file"
  done
  if [ -s "$1/$SJ_LOG" ]; then part log_bytes 0 "$(size_of "$1/$SJ_LOG")"; fi
  used=$(du -sk "$1" 2>/dev/null)
  part kibibytes 0 "${used%%[!0-9]*}"
  marks_of "$1/$SJ_LOG" && pids_with_marker "$marks"
  # shellcheck disable=SC2086
  set -- "$1" $marked_pids
  part processes 0 $(($# - 1))
  write_times "${1%/*/*}" "${1#"${1%/*/*}"/}"
}

# show_spec DIR: in a subshell, because the spec sets variables.
show_spec() {
  # shellcheck disable=SC2317  # called by the spec
  output() {
    part output 0 "$1"
    emit "$2"
  }
  # shellcheck source=/dev/null
  . "$1/$SJ_SPEC"
  for setting in submitted_by submitted_at working_directory time_limit; do
    eval "value=\${$setting-}"
    part "$setting" 0
    emit "$value"
  done
}
