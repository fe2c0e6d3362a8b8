# shellcheck shell=sh disable=SC2034,SC2154
# Listings of jobs for people. All verbs respond in parts.

# job_names BASE: the names of all attempts with the times that order them, and no more, because there may be thousands. A
# line "TIME KEY/ATTEMPT" for one without an exit record, else "TIME KEY/ATTEMPT/exit_record", and other lines
# "TIME KEY/ATTEMPT/collected" if it was collected and "TIME KEY/ATTEMPT/forgotten" if a person has forgotten it. TIME is
# "-" on a host without stat(1).
job_names() {
  part names 0 "$(date +%s)"
  [ ! -d "$1/jobs" ] || (
    cd "$1/jobs" || exit
    index_names | if find_stat; then xargs -n 500 stat "$flag" "$format" 2>/dev/null; else sed 's/^/- /'; fi || :
  )
}

index_names() {
  for listed in */[0-9]*; do
    # xargs interprets quotes; names of this package have none
    case $listed in *[!A-Za-z0-9_./-]* | */*[!0-9]*) continue ;; esac
    if [ -s "$listed/$SJ_RECORD" ]; then
      emit "$listed/$SJ_RECORD"
    elif [ -d "$listed" ]; then
      emit "$listed"
    fi
    for marked in "$listed/$SJ_COLLECTED" "$listed/$SJ_FORGOTTEN"; do [ ! -e "$marked" ] || emit "$marked"; done
  done
}

# job_survey BASE BYTES KEY/ATTEMPT...: status of these attempts, that many bytes from the ends of their logs, and all
# times.
job_survey() {
  jobs_surveyed=$1/jobs tail_bytes=$2 job_index=0
  shift 2
  measure_listed "$jobs_surveyed" "$@"
  for listed; do
    [ -d "$jobs_surveyed/$listed" ] || continue
    survey_job "$jobs_surveyed/$listed" "$tail_bytes"
    job_index=$((job_index + 1))
  done
  write_times "$jobs_surveyed" "$@"
}

# survey_job DIR BYTES: the status, and that many bytes from the end of the log, for which it needs a process.
survey_job() {
  job_state "$1"
  part directory "$job_index"
  emit "$1"
  write_status "$1" -
  if [ -e "$1/$SJ_COLLECTED" ]; then
    collector=
    bounded "$1/$SJ_COLLECTED"
    read -r collector <"$bounded"
    part collected "$job_index" yes
    emit "$collector"
  fi
  # a first attempt is no retry
  case $1 in */1) ;; *) survey_retry "$1" ;; esac
  if [ "$2" -gt 0 ] && [ -s "$1/$SJ_LOG" ]; then
    part tail "$job_index"
    tail -c "$2" "$1/$SJ_LOG"
  fi
}

survey_retry() {
  read_digests "$1"
  [ -z "$found_retry" ] || {
    part retry "$job_index"
    emit "$found_retry"
  }
}

# write_times JOBS KEY/ATTEMPT...: the current time, and a line "TIME KEY/ATTEMPT/FILE" for each file whose time dates a
# state. Other output of stat does not have this form.
write_times() {
  part times 0 "$(date +%s)"
  [ ! -d "$1" ] || (
    cd "$1" || exit
    shift
    find_stat || exit 0
    for listed; do
      # xargs interprets quotes; names of this package have none
      case $listed in *[!A-Za-z0-9_./-]*) continue ;; esac
      for file in "$SJ_SPEC" "$SJ_STARTED" "$SJ_RECORD" "$SJ_COLLECTED" "$SJ_LOG"; do
        [ ! -e "$listed/$file" ] || emit "$listed/$file"
      done
    done | xargs -n 500 stat "$flag" "$format" 2>/dev/null || :
  )
}

# job_show DIR: everything about an attempt except its environment, and the end of its log.
job_show() {
  job_index=0
  measure "$1"
  survey_job "$1" 5000
  [ ! -r "$1/$SJ_SPEC" ] || (show_spec "$1")
  for shown_file in "$SJ_COMMAND" "$SJ_SETUP" "$SJ_DIAGNOSTICS"; do
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
  # shellcheck disable=SC2317
  input() {
    part input 0 "$1"
    emit "$2"
  }
  shown_directory=$1
  # shellcheck disable=SC2317
  own_input() { input "$1" "$shown_directory/$SJ_INPUTS/$2/$3"; }
  # shellcheck disable=SC2317
  own_tree() { own_input "$@"; }
  # shellcheck disable=SC2317
  returned_output() { output "$1" "$shown_directory/$SJ_RETURNED/$2/$3"; }
  project_input='' slots='' nice='' ionice='' memory_kib='' cpu_quota=''
  # shellcheck source=/dev/null
  . "$1/$SJ_SPEC"
  project=${project_input:+$1/$SJ_PROJECT}
  working_directory=${working_directory:-$project}
  for setting in submitted_by submitted_at task_family task_parameters working_directory project time_limit setup_shell \
    setup_modules slots idle_limit log_limit log_action warning_signal warning_time nice ionice memory_kib cpu_quota; do
    eval "value=\${$setting-}"
    part "$setting" 0
    emit "$value"
  done
}
