# shellcheck shell=sh disable=SC2034,SC2154
# The outcome of an attempt and its exit record. Runs in the job directory.

# reserve_record: creates the files of the exit record with their full size, because when the job ends there may be no
# space on the disk, or no inode.
reserve_record() {
  [ -d "$scratch" ] || mkdir -p "$scratch" || return 1
  # time(1) and the shell write to the other two; another supervisor may do so already
  {
    printf '%4095s\n' '' >"$scratch/$SJ_RECORD.$$" && printf '%3s\n' '' >"$scratch/$SJ_EXIT_CODE.$$" &&
      true >>"$scratch/usage" && true >>"$scratch/notices"
  } 2>/dev/null && return
  # cat, because the printf of shells reports each reason as "I/O error"
  why=$({ printf '%8191s\n' '' | cat >"$scratch/$SJ_RECORD.$$"; } 2>&1)
  why=${why##*: }
  return 1
}

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
    name_term
  else
    apply_limit
  fi
  add_reason "${strongest:+its processes received SIG$strongest}"
}

name_term() { add_reason "the supervisor received SIGTERM${scheduler_id:+ from the scheduler}, perhaps because the host shut down"; }

# decide_outcome: sets $outcome, and commits or discards all outputs. The record is written afterwards, so that it never
# reports success without the outputs. May be repeated, see retry_fork; $known_reason is the reason before.
decide_outcome() {
  outcome=failed reason=$known_reason out_of_memory=''
  classify_exit
  if [ -n "$verdict" ]; then
    apply_verdict
    [ -z "$setup_mark" ] || add_reason "the setup had not reached the command"
  elif [ -n "$setup_mark" ]; then
    reason="the setup did not reach the command: its exit code is $code"
    [ -z "$signal" ] || outcome=killed
  elif [ -z "$reason" ]; then
    case " $success_exit_codes " in
      *" $code "*)
        each_output check_output
        [ -n "$reason" ] || each_output commit_output
        [ -n "$reason" ] || outcome=succeeded
        ;;
      *)
        if [ -n "$signal" ]; then outcome=killed; else read_reason; fi
        # its processes, too
        [ -z "$terminated" ] || name_term
        ;;
    esac
  fi
  if [ "$outcome" != succeeded ]; then
    add_reason "$doubt"
    oom_kills
    if [ -n "$memory_exceeded" ]; then
      out_of_memory=job
      name_memory_limit
      add_reason "it used more than its memory limit of $memory_limit, and the kernel killed a process of it"
    elif [ "$oom_kills" != "$oom_kills_before" ] && [ -z "$spared" ]; then
      out_of_memory=machine
      add_reason "the kernel killed processes for lack of memory on this machine meanwhile"
    fi
  fi
  [ "$restarts" -eq 0 ] || add_reason "the scheduler requeued it (restarts: $restarts)"
  discard_outputs
}

# read_reason: sets $reason to what the command gives as the reason of its failure. That may be any text. A FIFO or device,
# at which this process would wait, has no size.
read_reason() {
  [ ! -s "$scratch/$SJ_REASON" ] ||
    reason=$(dd if="$scratch/$SJ_REASON" bs=1000 count=1 2>/dev/null | sed -n 1p | tr -d '\000-\037\177')
}

# unsettled: whether the scheduler may know why the job ended, and will be asked. A scheduler ends a job with signals.
unsettled() {
  [ -n "$scheduler_id" ] && [ -s "$SJ_LAUNCH" ] && [ ! -e "$SJ_CANCEL" ] && ! has_own_limit || return 1
  case $outcome in
    killed) ;;
    failed) [ -n "$terminated" ] || [ "$code" -gt 128 ] || [ "$oom_kills" != "$oom_kills_before" ] ;;
    *) return 1 ;;
  esac
}

add_reason() { [ -z "$1" ] || reason=${reason:+$reason; }$1; }

# record_outcome: until it has succeeded, because only this process knows the outcome: a full disk may have space
# later. Gives up after a day.
record_outcome() {
  tries=0 recorded=
  until retry_fork write_record && retry_fork publish_record; do
    tries=$((tries + 1))
    [ "$tries" -lt 3200 ] || return 1
    retry_fork pause_before_retry
  done
}

pause_before_retry() { if [ "$tries" -lt 300 ]; then pause; else sleep 30; fi; }

# restore_directory: the job directory, which may have been deleted or made inaccessible. Ends the supervisor if the
# directory is that of another attempt meanwhile, after this one was given up.
restore_directory() {
  if [ ! -x "$dir" ] || [ ! -w "$dir" ]; then chmod u+rwx "$dir" 2>/dev/null; fi
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  [ . -ef "$dir" ] || ! has_attempt "$dir" || exit 1
  [ ! -d "$scratch" ] || return 0
  recorded=
  mkdir -p "$dir/$scratch" && cd "$dir" || return 1
}

# restore_log: if it was deleted, from the descriptor that the supervisor keeps. A note takes its place if that is not
# possible, as without space.
restore_log() {
  [ ! -e "$SJ_LOG" ] || return 0
  if [ -r /proc/self/stat ]; then
    cat "/proc/$$/fd/5" >"$scratch/$SJ_LOG" && mv "$scratch/$SJ_LOG" . && return
  fi
  rm -f "$scratch/$SJ_LOG"
  emit "luigi_sshjob: this log was deleted, and could not be written again" >"$SJ_LOG"
  return 0
}

# write_record: to new files, or over the reserved ones if there is no space; each in a single write, so that a disk that
# is full for a moment cannot drop a line.
write_record() {
  # in each try, because all may be deleted in between
  restore_directory && restore_log || return 1
  [ "$recorded" != yes ] || [ ! -s "$scratch/$SJ_RECORD" ] || [ ! -s "$scratch/$SJ_EXIT_CODE" ] || return 0
  now
  describe_limits
  log_bytes=0
  [ ! -s "$SJ_LOG" ] || log_bytes=$(wc -c <"$SJ_LOG")
  # wc may pad with blanks
  record="job: $key/$attempt
outcome: $outcome
exit_code: $code
signal: $signal
reason: $reason
started: $started
ended: $now
log_bytes: ${log_bytes##* }
cpu_time: $cpu_time
peak_memory: ${peak_memory:+$peak_memory KiB}${queue_time:+${newline}queue_time: $queue_time s}${out_of_memory:+${newline}out_of_memory: $out_of_memory}$limit_lines
machine: $machine
submitted_by: $submitted_by
submitted_at: $submitted_at"
  write_file "$SJ_EXIT_CODE" "$code" && write_file "$SJ_RECORD" "$record" && recorded=yes
}

# write_file NAME TEXT: over a reserved file the text ends with a blank line, because the rest of the file remains.
write_file() {
  { emit "$2" >"$scratch/$1"; } 2>/dev/null && return
  rm -f "$scratch/$1"
  emit "$2$newline" 1<>"$scratch/$1.$$" && mv -f "$scratch/$1.$$" "$scratch/$1"
}

# tell_watchers: of the end, see server/news.sh.
tell_watchers() {
  for watcher in "${dir%/*/*/*}/lib"/.look.*.news; do
    # a session that has just ended removes its file
    [ ! -f "$watcher" ] || { emit "${tag}_$attempt" >>"$watcher"; } 2>/dev/null
  done
}

# publish_copies: for file systems without hard links between directories (AFS, CIFS, exFAT).
publish_copies() {
  for published in "$SJ_LOG" "$scratch/$SJ_RECORD"; do
    cp "$published" "$scratch/copy" && mv -f "$scratch/copy" "../${published##*/}" || return
  done
}

# set_kept_aside: what the command has kept for the next attempt. Before the record of a success appears, as the next attempt
# is a new start; its removal may take long. After a person has given this attempt up, it may be in use by the next one.
set_kept_aside() {
  kept=../$SJ_KEPT
  [ ! -e "../$((attempt + 1))" ] || return 0
  if [ -d "$kept" ] && [ ! -h "$kept" ]; then
    { [ -r "$kept" ] && [ -w "$kept" ] && [ -x "$kept" ]; } || chmod u+rwx "$kept"
    has_entries "$kept" || return 0
  elif [ ! -e "$kept" ] && [ ! -h "$kept" ]; then
    return 0
  fi
  mv -f "$kept" "$scratch/$SJ_KEPT" && kept_aside=yes
}

# publish_record: moves the record to its place. A task without outputs of its own has log and record as its output,
# next to the attempts, as hard links; the record is linked last, because it implies the log.
publish_record() {
  if unsettled; then
    mv -f "$scratch/$SJ_EXIT_CODE" ./ && mv -f "$scratch/$SJ_RECORD" "$SJ_UNSETTLED"
    return
  fi
  # also of a command that was killed before it was emptied
  [ ! -s "$SJ_ENVIRONMENT" ] || true >"$SJ_ENVIRONMENT"
  [ "$outcome" != succeeded ] || set_kept_aside
  if [ "$outcome" = succeeded ] && [ "$publish" = yes ]; then
    LC_ALL=C ln -f "$SJ_LOG" "$scratch/$SJ_RECORD" ../ || publish_copies || return 1
  fi
  for published in "$SJ_EXIT_CODE" "$SJ_RECORD"; do
    [ ! -d "$published" ] || mv "$published" "$published.replaced.$$" || return 1
  done
  # no locale to be loaded
  LC_ALL=C mv -f "$scratch/$SJ_EXIT_CODE" "$scratch/$SJ_RECORD" ./ || return
  true >"$scratch/$SJ_RECORD.$$"
}
