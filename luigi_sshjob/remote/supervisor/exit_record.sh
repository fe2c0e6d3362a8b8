# shellcheck shell=sh disable=SC2034,SC2154
# The outcome of an attempt, and its exit record. Called in the job directory.

# reserve_space: on a disk that is full, or a quota used up, when the job ends, this is what its record takes.
reserve_space() { printf '%8192s' '' >"$scratch/reserve"; }

# settle_verdict: a TERM that nobody has asked for by `cancel` came from elsewhere, a shutdown of the host say.
settle_verdict() {
  outcome=$verdict
  if [ "$verdict" = terminated ] && [ -e "$SJ_CANCEL" ]; then
    outcome=cancelled by=
    read -r by <"$SJ_CANCEL"
    also "by $by"
  elif [ "$verdict" = terminated ]; then
    outcome=killed
    also "its supervisor was told to end (SIGTERM)${scheduler_id:+ by the scheduler}, perhaps as the host shut down"
  elif [ -n "$scheduler_id" ] && [ ! -e "$scratch/deadline" ]; then
    also "the scheduler's time limit was near"
  fi
  also "${strongest:+its processes were sent $strongest}"
}

# judge: sets $outcome, and commits or discards the outputs, all or none; the record comes after, so that
# "succeeded" is never said of an output that is not there. May be done again, see `surely`; $known_reason is what was
# known before.
judge() {
  outcome=failed reason=$known_reason
  tell_ending
  if [ -n "$verdict" ]; then
    settle_verdict
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
  [ "$outcome" = succeeded ] || explain
  [ "$restarts" -eq 0 ] || also "the scheduler has put it back into its queue ($restarts)"
  each_output discard_output
}

# explain: adds to $reason what else is known.
explain() {
  also "$doubt"
  oom_kills
  [ "$oom_kills" = "$oom_kills_before" ] || also "meanwhile the kernel killed for want of memory on this machine"
}

# unsettled: whether the scheduler is to be asked why it ended. A scheduler ends a job by signals.
unsettled() {
  [ -n "$scheduler_id" ] && [ ! -e "$SJ_CANCEL" ] || return 1
  case $outcome in
    killed) ;;
    failed) [ "$code" -gt 128 ] || [ "$oom_kills" != "$oom_kills_before" ] ;;
    *) return 1 ;;
  esac
}

# also TEXT: one reason more.
also() { [ -z "$1" ] || reason=${reason:+$reason; }$1; }

# write_record: in one write, so that a disk that is full for a moment cannot leave out a line.
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

# publish_copies: where there are no links to another directory, as on AFS, CIFS and exFAT.
publish_copies() {
  for published in "$SJ_LOG" "$scratch/$SJ_RECORD"; do
    cp "$published" "$scratch/copy" && mv -f "$scratch/copy" "../${published##*/}" || return
  done
}

# publish_record: what a task without outputs of its own shows as output is beside the attempts. Links to the same
# files, record last: it says that there is a log.
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
