# shellcheck shell=sh disable=SC2034,SC2154
# Ends jobs. All verbs are idempotent, and respond in parts.

# job_cancel DIR GRACE BY: has the supervisor kill the job; kills it here if there is no supervisor. To be repeated
# until the job has ended.
job_cancel() { privately cancel_job "$@"; }

cancel_job() {
  measure "$1"
  job_state "$1"
  cancelling=$job_state
  case $cancelling in
    scheduled) cancel_scheduled "$1" "$3" ;;
    claimed) cancel_unstarted "$1" "$3" ;;
    running | queued) cancel_running "$1" "$2" "$3" ;;
    unsupervised) cancel_unsupervised "$1" "$2" "$3" ;;
  esac
  if [ "$cancelling" = ended ] && [ -s "$1/$SJ_LAUNCH" ] && [ -s "$1/$SJ_STARTED" ]; then
    # the scheduler may still have it, or be about to accept it
    job_scheduled='' job_machine=''
    scheduled_facts "$1"
    job_index=0 job_state=scheduled job_reason=$facts
    write_submission "$1"
  fi
  part cancelling 0 "$job_state"
  emit "$job_reason"
}

# cancel_running DIR GRACE BY: requests it from the supervisor, which may be stopped. If that has not ended the job long
# after the grace, everything is killed from here.
cancel_running() {
  seconds_up
  # the directory may have been deleted; the supervisor makes it again
  [ -s "$1/$SJ_CANCEL" ] || { mkdir -p "$1" && emit "$3$newline$seconds" >"$1/$SJ_CANCEL"; }
  kill -s TERM "$job_pid"
  kill -s CONT "$job_pid"
  bounded "$1/$SJ_CANCEL"
  {
    read -r cancelled_by
    read -r requested_at
  } <"$bounded"
  [ -n "$requested_at" ] || emit "$cancelled_by$newline$seconds" >"$1/$SJ_CANCEL"
  [ "$seconds" -ge $((${requested_at:-$seconds} + $2 + 20)) ] || return 0
  # a supervisor whose command has ended may be busy with the outputs
  leftovers_live "$1" || return 0
  end_processes "$1" "$2"
  [ "$job_state" = running ] && ! await_record "$1" || return 0
  process_start "$job_pid" && [ "$start" = "$job_start" ] && kill -s KILL "$job_pid"
  ended "$1" || write_record "$1" '' "outcome: cancelled
reason: by $cancelled_by; its supervisor did not react, and was killed"
}

# await_record DIR: for five seconds, because the supervisor may be writing it.
await_record() {
  seconds_up
  record_deadline=$((seconds + 5))
  while [ "$seconds" -le "$record_deadline" ]; do
    ! ended "$1" || return 0
    pause
    seconds_up
  done
  return 1
}

# cancel_unsupervised DIR GRACE BY: kills the processes, also the one that the dead supervisor has left for its time limit.
cancel_unsupervised() {
  [ ! -d "$1" ] || emit "$3" >"$1/$SJ_CANCEL"
  end_processes "$1" "$2" || return
  ! find_supervisor "$1" starting || kill -s TERM "$job_pid"
  # without an identity only this request knows that the job ran here
  [ ! -d "$1" ] || [ -s "$1/$SJ_IDENTITY" ] || ended "$1" || write_record "$1" '' "outcome: cancelled
reason: by $3; its supervisor had died"
}

# end_processes DIR GRACE: kills all processes of a job but its supervisor.
end_processes() {
  marks_of "$1/$SJ_LOG" && kill_job "$marks" "$command_root" "$2" '' && return
  name_survivors
  job_state=unknown job_reason="these of its processes could not be killed: ${survivors:-unknown}"
  return 1
}

# cancel_unstarted DIR BY: claims the run, so that no supervisor can, then writes the record.
cancel_unstarted() {
  emit "$2" >"$1/$SJ_CANCEL" && ! mark_found_run "$1" && ! may_run "$1" && claim_run_marker "$1" '' cancelled && record_cancelled "$1" "$2"
}

record_cancelled() {
  write_record "$1" 143 "outcome: cancelled
exit_code: 143
reason: by $2, before it was started
log_bytes: 0"
}

# write_record DIR EXIT_CODE TEXT: writes the exit record of a job that has no supervisor, and the exit code unless it
# is empty; each appears whole.
write_record() {
  staged=$1/$SJ_SCRATCH.$SJ_TOKEN
  mkdir -p "$staged" &&
    emit "$3" >"$staged/$SJ_RECORD" &&
    { [ -z "$2" ] || { emit "$2" >"$staged/$SJ_EXIT_CODE" && mv -f "$staged/$SJ_EXIT_CODE" "$1/"; }; } &&
    mv -f "$staged/$SJ_RECORD" "$1/" &&
    true >"$1/$SJ_ENVIRONMENT"
  written=$?
  rm -rf "$staged"
  return "$written"
}

# job_give_up DIR BY STATE REASON: writes the exit record of an attempt that a person has declared lost, because its end
# cannot be found out from here. STATE and REASON are what the client knows about a scheduler's job.
job_give_up() {
  job_state "$1"
  [ "$job_state" != scheduled ] || job_state=$3 job_reason=$4
  case $job_state in
    ended | lost) return 0 ;;
    elsewhere | unknown) ;;
    *) refuse job-can-be-ended "the job can be ended from here, as it is $job_state: $1" || return ;;
  esac
  privately write_record "$1" '' "outcome: lost
reason: given up by $2; it was $job_state: $job_reason" && return
  privately unwritable "$1"
  refuse record-not-written "no exit record can be written to $1: $why"
}
