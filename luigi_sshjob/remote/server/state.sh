# shellcheck shell=sh disable=SC2034,SC2154
# Looking at jobs that were submitted, and ending them. As for those of submit.sh: each verb may be called again, and
# answers in parts.

# job_status DIR BLOCK: the job's state, progress and exit record, and up to 1 MiB of its log from that block of 1 KiB on,
# or no log for "-". The client counts the blocks, because numbers end at 2 GiB in mksh.
job_status() {
  job_index=0
  await_answer "$1"
  job_state "$1"
  tell_job "$1" "$2"
}

# tell_job DIR BLOCK: the state comes first, the log after it: what was read of the log after the record
# was seen is all of it. How long it has been running is told where a builtin can tell.
tell_job() {
  part state "$job_index" "$job_state"
  case $job_state in
    ended) show "$job_record" ;;
    *) emit "$job_reason" ;;
  esac
  ! seconds_since "$job_began" || part seconds "$job_index" "$passed"
  if [ -s "$1/$SJ_PROGRESS" ]; then
    part progress "$job_index"
    read -r progress <"$1/$SJ_PROGRESS" || [ -n "$progress" ]
    emit "$progress"
  fi
  if [ "$2" != - ] && [ -s "$1/$SJ_LOG" ]; then
    # whole blocks, as dd can skip no other way by POSIX; the reader drops what it has
    part log "$job_index"
    dd if="$1/$SJ_LOG" bs=1024 skip="$2" count=1024 2>/dev/null
  fi
}

# job_tail DIR BYTES LINES: the end of the log as it is now, at most so many lines of so many bytes.
job_tail() {
  [ -e "$1/$SJ_LOG" ] || refuse no-log "there is no log in the job directory any more: $1" || return
  part tail 0
  tail -c "$2" "$1/$SJ_LOG" | tail -n "$3"
}

# job_state DIR: sets $job_state and $job_reason, with builtins alone while all is well; of one that runs on this machine
# $job_began to the start of its supervisor, see process_start.
job_state() {
  job_reason='' job_began=''
  if ended "$1"; then
    job_state=ended
  elif [ -s "$1/$SJ_LAUNCH" ]; then
    scheduled_state "$1"
  elif [ -e "$1/$SJ_STARTED" ]; then
    supervised_state "$1"
  elif [ -e "$1/$SJ_SPEC" ]; then
    unstarted_state "$1"
  else
    absent_state "$1"
  fi
}

# ended DIR: sets $job_record to the file that says how: what cleanup has left of an attempt is the mark of who
# collected it, which says so too. Of a record that had its name already a power cut may leave nothing but that.
ended() {
  job_record=$1/$SJ_RECORD
  [ -s "$job_record" ] && return
  job_record=$1/$SJ_COLLECTED
  [ -e "$job_record" ] && [ ! -e "$1/$SJ_SPEC" ]
}

absent_state() {
  if lives "$1"; then
    job_state=unsupervised job_reason="its job directory $1 was deleted, its command still runs"
  elif [ -d "$1" ]; then
    job_state=claimed
  elif [ -d "${1%/*/*}" ]; then
    job_state=lost job_reason="its job directory $1 was deleted"
  else
    job_state=unknown job_reason="the directory ${1%/*/*} is not there at the moment"
  fi
}

unstarted_state() {
  job_state=claimed
  if [ -s "$1/$SJ_DIAGNOSTICS" ]; then
    while read -r diagnostic || [ -n "$diagnostic" ]; do job_reason=$diagnostic; done <"$1/$SJ_DIAGNOSTICS"
  fi
}

# supervised_state DIR: whether the supervisor lives can be told only on the machine it runs on.
supervised_state() {
  if [ -s "$1/$SJ_IDENTITY" ]; then
    judge_identity "$1" "$1/$SJ_IDENTITY"
    return
  fi
  # who has won has not said so yet, or never will: it is one of those who wanted to
  job_state=lost job_reason="its run was won by a process that died at once"
  for candidate in "$1/$SJ_IDENTITY".*; do
    [ -s "$candidate" ] || continue
    judge_identity "$1" "$candidate"
    [ "$job_state" = lost ] || return 0
  done
  if [ "$job_state" = lost ] && [ -e "$1/$SJ_CANCEL" ]; then
    # who cancelled it died before the record was written, or is about to write the same
    cancelled_by=
    read -r cancelled_by <"$1/$SJ_CANCEL"
    privately record_cancelled "$1" "$cancelled_by" && ended "$1" && job_state=ended
  fi
}

judge_identity() {
  {
    read -r _ job_pid
    read -r _ job_start
    read -r _ job_machine
    read -r _ job_boot
    read -r _ job_oom_kills
    read -r _ job_scheduled
  } <"$2"
  if [ "$job_machine" != "$SJ_MACHINE" ]; then
    job_state=elsewhere job_reason="it was started on $job_machine, and this is $SJ_MACHINE"
  elif [ "$job_boot" != "$SJ_BOOT" ]; then
    lost_unless_ended "$1" "the host was restarted while it ran"
  elif process_start "$job_pid" && [ "$start" = "$job_start" ]; then
    job_state=running job_began=$job_start
  elif lives "$1"; then
    job_state=unsupervised job_reason="its supervisor (process $job_pid) is gone, its command is not"
    job_began=$job_start
  else
    lost_unless_ended "$1" "its supervisor (process $job_pid) is gone without an exit record"
    [ "$job_state" != lost ] || explain_loss "$1"
  fi
}

# explain_loss DIR: adds to $job_reason what this machine knows of it.
explain_loss() {
  oom_kills
  [ "$oom_kills" = "$job_oom_kills" ] ||
    job_reason="$job_reason; since it began the kernel killed for want of memory on this machine"
  explain_directory "$1"
}

# explain_directory DIR: adds to $job_reason that nothing can be written there, as on a full disk.
explain_directory() {
  ! privately unwritable "$1" || job_reason="${job_reason:+$job_reason; }$1 cannot be written: $why"
}

# lives DIR: whether there is a process of the job, supervised or not; where that could not be found out there may be.
lives() { carried "SSHJOB_LOG=$1/$SJ_LOG"; }

carried() { ! carriers "$1" || [ -n "$carriers" ]; }

# lost_unless_ended DIR REASON: the record is read once more, as the job may have ended between two looks.
lost_unless_ended() {
  if ended "$1"; then
    job_state=ended
  else
    job_state=lost job_reason=$2
  fi
}

# job_cancel DIR GRACE BY: asks the supervisor to kill the job; does it itself where there is none. Called
# again until the state says that the job has ended.
job_cancel() { privately cancel_job "$@"; }

cancel_job() {
  job_state "$1"
  cancelling=$job_state
  [ ! -s "$1/$SJ_LAUNCH" ] || [ "$job_state" = ended ] || cancelling=scheduled
  case $cancelling in
    scheduled) cancel_scheduled "$1" "$2" "$3" ;;
    claimed) cancel_unstarted "$1" "$3" ;;
    running)
      emit "$3" >"$1/$SJ_CANCEL"
      kill -s TERM "$job_pid"
      ;;
    unsupervised)
      [ ! -d "$1" ] || emit "$3" >"$1/$SJ_CANCEL"
      kill_job "SSHJOB_LOG=$1/$SJ_LOG" none "$2" ''
      ;;
  esac
  part cancelling 0 "$job_state"
  emit "$job_reason"
}

# cancel_unstarted DIR BY: wins the run, so that no supervisor can, then writes the record in its stead.
cancel_unstarted() {
  emit "$2" >"$1/$SJ_CANCEL" && win_run "$1" && record_cancelled "$1" "$2"
}

record_cancelled() {
  aside=$1/$SJ_SCRATCH.$SJ_TOKEN
  mkdir -p "$aside" &&
    emit 143 >"$aside/$SJ_EXIT_CODE" &&
    emit "outcome: cancelled
exit_code: 143
reason: by $2, before it was started
log_bytes: 0" >"$aside/$SJ_RECORD" &&
    mv -f "$aside/$SJ_EXIT_CODE" "$aside/$SJ_RECORD" "$1/" &&
    true >"$1/$SJ_ENVIRONMENT"
  cancel_status=$?
  rm -rf "$aside"
  return "$cancel_status"
}

# job_latest BASE KEY: the directory of the latest attempt, if there is one.
job_latest() {
  latest_attempt "$1/jobs/$2"
  [ "$latest" -gt 0 ] || return 0
  part latest "$latest"
  emit "$1/jobs/$2/$latest"
}
