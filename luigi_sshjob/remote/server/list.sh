# shellcheck shell=sh disable=SC2034,SC2154
# What people ask about the jobs of a host. As for the verbs of state.sh, each answers in parts.

# job_survey BASE: each attempt with what there is to say in a line or two, and the times of all.
job_survey() {
  job_index=0
  await_answer "$1"/jobs/*/[0-9]*
  for listed in "$1"/jobs/*/[0-9]*; do
    [ -d "$listed" ] || continue
    survey_job "$listed" 500
    job_index=$((job_index + 1))
  done
  tell_times "$1/jobs" '*/[0-9]*'
}

# survey_job DIR BYTES: how it stands, and so much of the end of its log.
survey_job() {
  job_state "$1"
  part directory "$job_index"
  emit "$1"
  tell_job "$1" -
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

# tell_times JOBS ATTEMPTS: lines "TIME KEY/ATTEMPT/FILE" for what tells since when an attempt stands as it does, and the
# time it is here; what stat prints otherwise is not such a line.
tell_times() {
  part times 0 "$(date +%s)"
  [ ! -d "$1" ] || (
    cd "$1" || exit
    # that of the BSDs
    if stat -c %Y . >/dev/null 2>&1; then how=-c format='%Y %n'; else how=-f format='%m %N'; fi
    # shellcheck disable=SC2086  # a pattern
    for listed in $2; do
      # xargs has its own idea of quotes; no name of ours has any
      case $listed in *[!A-Za-z0-9_./-]*) continue ;; esac
      for file in "$SJ_SPEC" "$SJ_STARTED" "$SJ_RECORD" "$SJ_COLLECTED" "$SJ_LOG"; do
        [ ! -e "$listed/$file" ] || emit "$listed/$file"
      done
    done | xargs -n 200 stat "$how" "$format" 2>/dev/null || :
  )
}

# job_show DIR: all that is kept of an attempt but its environment, and the end of its log.
job_show() {
  job_index=0
  await_answer "$1"
  survey_job "$1" 5000
  [ ! -r "$1/$SJ_SPEC" ] || (show_spec "$1")
  for shown_file in "$SJ_COMMAND" "$SJ_DIAGNOSTICS"; do
    [ -s "$1/$shown_file" ] || continue
    part "$shown_file" 0
    show "$1/$shown_file"
  done
  if [ -s "$1/$SJ_LOG" ]; then part log_bytes 0 "$(size_of "$1/$SJ_LOG")"; fi
  taken=$(du -sk "$1" 2>/dev/null)
  part kibibytes 0 "${taken%%[!0-9]*}"
  processes=0
  carriers "SSHJOB_LOG=$1/$SJ_LOG"
  for carrier in $carriers; do processes=$((processes + 1)); done
  part processes 0 "$processes"
  tell_times "${1%/*/*}" "${1#"${1%/*/*}"/}"
}

# show_spec DIR: what was asked for. In a subshell, as the spec sets variables.
show_spec() {
  # shellcheck disable=SC2317  # called by the spec
  output() {
    part output 0 "$1"
    emit "$2"
  }
  # shellcheck source=/dev/null
  . "$1/$SJ_SPEC"
  for wanted in submitted_by submitted_at working_directory time_limit; do
    eval "wish=\${$wanted-}"
    part "$wanted" 0
    emit "$wish"
  done
}
