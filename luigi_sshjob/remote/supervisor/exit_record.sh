# shellcheck shell=sh disable=SC2034,SC2154
# The outcome of an attempt and its exit record. Runs in the job directory.

# reserve_space: keeps space for the exit record, in case the disk or a quota is full when the job ends.
reserve_space() { printf '%8192s' '' >"$scratch/reserve"; }

# apply_verdict: sets $outcome of a job that was ended. A TERM without a request to cancel came from elsewhere, for
# example from a shutdown of the host.
apply_verdict() {
  outcome=$verdict
  if [ "$verdict" = terminated ] && [ -e "$SJ_CANCEL" ]; then
    outcome=cancelled by=
    read -r by <"$SJ_CANCEL"
    add_reason "by $by"
  elif [ "$verdict" = terminated ]; then
    outcome=killed
    add_reason "the supervisor received SIGTERM${scheduler_id:+ from the scheduler}, perhaps because the host shut down"
  elif [ -n "$scheduler_id" ] && [ ! -e "$scratch/deadline" ]; then
    add_reason "the scheduler's time limit was about to expire"
  fi
  add_reason "${strongest:+its processes received SIG$strongest}"
}

# decide_outcome: sets $outcome, and commits or discards all outputs. The record is written afterwards, so that it never
# reports success without the outputs. May be repeated, see retry_fork; $known_reason is the reason before.
decide_outcome() {
  outcome=failed reason=$known_reason
  classify_exit
  if [ -n "$verdict" ]; then
    apply_verdict
  elif [ -z "$reason" ]; then
    case " $success_exit_codes " in
      *" $code "*)
        each_output check_output
        [ -n "$reason" ] || each_output commit_output
        [ -n "$reason" ] || outcome=succeeded
        ;;
      *) [ -z "$signal" ] || outcome=killed ;;
    esac
  fi
  if [ "$outcome" != succeeded ]; then
    add_reason "$doubt"
    oom_kills
    [ "$oom_kills" = "$oom_kills_before" ] ||
      add_reason "the kernel killed processes for lack of memory on this machine meanwhile"
  fi
  [ "$restarts" -eq 0 ] || add_reason "the scheduler requeued it (restarts: $restarts)"
  each_output discard_output
}

# unsettled: whether the scheduler may know why the job ended. A scheduler ends a job with signals.
unsettled() {
  [ -n "$scheduler_id" ] && [ ! -e "$SJ_CANCEL" ] || return 1
  case $outcome in
    killed) ;;
    failed) [ "$code" -gt 128 ] || [ "$oom_kills" != "$oom_kills_before" ] ;;
    *) return 1 ;;
  esac
}

add_reason() { [ -z "$1" ] || reason=${reason:+$reason; }$1; }

# write_record: in a single write, so that a disk that is full for a moment cannot drop a line.
write_record() {
  [ -d "$scratch" ] || mkdir -p "$scratch" || return 1
  true >"$scratch/reserve"
  now
  log_bytes=0
  [ ! -s "$SJ_LOG" ] || log_bytes=$(wc -c <"$SJ_LOG")
  # wc may pad with blanks
  emit "job: $key/$attempt
outcome: $outcome
exit_code: $code
signal: $signal
reason: $reason
started: $started
ended: $now
log_bytes: ${log_bytes##* }
cpu_time: $cpu_time
peak_memory: ${peak_memory:+$peak_memory KiB}
machine: $machine
submitted_by: $submitted_by
submitted_at: $submitted_at" >"$scratch/$SJ_RECORD" && emit "$code" >"$scratch/$SJ_EXIT_CODE"
}

# publish_copies: for file systems without hard links between directories (AFS, CIFS, exFAT).
publish_copies() {
  for published in "$SJ_LOG" "$scratch/$SJ_RECORD"; do
    cp "$published" "$scratch/copy" && mv -f "$scratch/copy" "../${published##*/}" || return
  done
}

# publish_record: moves the record to its place. A task without outputs of its own has log and record as its output,
# next to the attempts, as hard links; the record is linked last, because it implies the log.
publish_record() {
  if unsettled; then
    mv -f "$scratch/$SJ_EXIT_CODE" ./ && mv -f "$scratch/$SJ_RECORD" "$SJ_UNSETTLED"
    return
  fi
  [ "$requeue" != yes ] || true >"$SJ_ENVIRONMENT"
  if [ "$outcome" = succeeded ] && [ "$publish" = yes ]; then
    ln -f "$SJ_LOG" "$scratch/$SJ_RECORD" ../ || publish_copies || return 1
  fi
  mv -f "$scratch/$SJ_EXIT_CODE" "$scratch/$SJ_RECORD" ./
}
