# shellcheck shell=sh disable=SC2034,SC2154
# States of submitted jobs, and cancelling them. All verbs are idempotent, and respond in parts.

# job_status DIR BLOCK: the job's state, progress and exit record, and up to 1 MiB of its log from that block of 1 KiB
# on, or no log for "-". The client counts the blocks, because numbers end at 2 GiB in mksh.
job_status() {
  job_index=0
  await_query "$1"
  job_state "$1"
  write_status "$1" "$2"
}

# write_status DIR BLOCK: the state first: a log that is read after the exit record was seen is complete.
write_status() {
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
    # whole blocks, because POSIX dd can skip nothing else; the client drops the bytes that it has
    part log "$job_index"
    dd if="$1/$SJ_LOG" bs=1024 skip="$2" count=1024 2>/dev/null
  fi
}

# job_tail DIR BYTES LINES: the last lines of the log, within its last bytes.
job_tail() {
  [ -e "$1/$SJ_LOG" ] || refuse no-log "the job directory has no log any more: $1" || return
  part tail 0
  tail -c "$2" "$1/$SJ_LOG" | tail -n "$3"
}

# job_state DIR: sets $job_state and $job_reason, with builtins only in the common cases. Sets $job_began to the start
# of the supervisor if it runs on this machine, see process_start.
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

# ended DIR: whether the job has ended; sets $job_record to the file with its exit record. That is the collected mark
# after a cleanup has removed the rest. A power cut may leave an exit record empty.
ended() {
  job_record=$1/$SJ_RECORD
  [ -s "$job_record" ] && return
  job_record=$1/$SJ_COLLECTED
  [ -e "$job_record" ] && [ ! -e "$1/$SJ_SPEC" ]
}

absent_state() {
  if may_run "$1"; then
    job_state=unsupervised job_reason="the job directory $1 was deleted; the command is still running"
  elif [ -d "$1" ]; then
    job_state=claimed
  elif [ -d "${1%/*/*}" ]; then
    job_state=lost job_reason="the job directory $1 was deleted"
  else
    job_state=unknown job_reason="the directory ${1%/*/*} is not available at the moment"
  fi
}

unstarted_state() {
  job_state=claimed
  if [ -s "$1/$SJ_DIAGNOSTICS" ]; then
    while read -r diagnostic || [ -n "$diagnostic" ]; do job_reason=$diagnostic; done <"$1/$SJ_DIAGNOSTICS"
  fi
}

supervised_state() {
  if [ -s "$1/$SJ_IDENTITY" ]; then
    identity_state "$1" "$1/$SJ_IDENTITY"
    return
  fi
  # the supervisor that claimed the run has not published its identity yet, or never will: it is one of the candidates
  job_state=lost job_reason="the supervisor died right after starting"
  for candidate in "$1/$SJ_IDENTITY".*; do
    [ -s "$candidate" ] || continue
    identity_state "$1" "$candidate"
    [ "$job_state" = lost ] || return 0
  done
  if [ "$job_state" = lost ] && [ -e "$1/$SJ_CANCEL" ]; then
    # the client that cancelled it died before it wrote the record, or is about to write the same
    cancelled_by=
    read -r cancelled_by <"$1/$SJ_CANCEL"
    privately record_cancelled "$1" "$cancelled_by" && ended "$1" && job_state=ended
  fi
}

# identity_state DIR FILE: as job_state, of a job whose supervisor has the identity in FILE.
identity_state() {
  {
    read -r _ job_pid
    read -r _ job_start
    read -r _ job_machine
    read -r _ job_boot
    read -r _ job_oom_kills
    read -r _ job_scheduled
  } <"$2"
  if [ "$job_machine" != "$SJ_MACHINE" ]; then
    job_state=elsewhere job_reason="it was started on $job_machine; this host is $SJ_MACHINE"
  elif [ "$job_boot" != "$SJ_BOOT" ]; then
    lost_unless_ended "$1" "the host was restarted while the job was running"
  elif process_start "$job_pid" && [ "$start" = "$job_start" ]; then
    job_state=running job_began=$job_start
  elif may_run "$1"; then
    job_state=unsupervised job_reason="the supervisor (process $job_pid) died; the command is still running"
    job_began=$job_start
  else
    lost_unless_ended "$1" "the supervisor (process $job_pid) died without writing an exit record"
    [ "$job_state" != lost ] || explain_loss "$1"
  fi
}

# explain_loss DIR: adds to $job_reason what this machine knows about the end.
explain_loss() {
  oom_kills
  [ "$oom_kills" = "$job_oom_kills" ] ||
    job_reason="$job_reason; since it started the kernel killed processes for lack of memory on this machine"
  explain_directory "$1"
}

# explain_directory DIR: adds to $job_reason that no file can be written there, for example on a full disk.
explain_directory() {
  ! privately unwritable "$1" || job_reason="${job_reason:+$job_reason; }the job directory $1 is not writable: $why"
}

# may_run DIR: whether a process of the job exists, supervised or not, or that cannot be determined.
may_run() { marker_in_use "SSHJOB_LOG=$1/$SJ_LOG"; }

marker_in_use() { ! pids_with_marker "$1" || [ -n "$marked_pids" ]; }

# lost_unless_ended DIR REASON: reads the record once more, because the job may have ended meanwhile.
lost_unless_ended() {
  if ended "$1"; then
    job_state=ended
  else
    job_state=lost job_reason=$2
  fi
}

# job_cancel DIR GRACE BY: has the supervisor kill the job; kills it here if there is no supervisor. To be repeated
# until the job has ended.
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

# cancel_unstarted DIR BY: claims the run, so that no supervisor can, then writes the record.
cancel_unstarted() {
  emit "$2" >"$1/$SJ_CANCEL" && claim_run_marker "$1" && record_cancelled "$1" "$2"
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

# job_latest BASE KEY: the directory of the latest attempt, if there is one.
job_latest() {
  latest_attempt "$1/jobs/$2"
  [ "$latest" -gt 0 ] || return 0
  part latest "$latest"
  emit "$1/jobs/$2/$latest"
}
