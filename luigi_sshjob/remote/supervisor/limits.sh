# shellcheck shell=sh disable=SC2034,SC2154,SC3013  # -nt is in dash, bash, busybox, mksh and in POSIX since 2024
# Enforces the limits of time, idleness and log, in a process of its own, which also gives the warning before a time limit.

start_watchdog() {
  # of an earlier run of the same attempt, see `requeue`
  for stale in "$scratch/over" "$scratch/deadline" "$scratch"/reached_*; do
    [ ! -e "$stale" ] || rm -f "$stale"
  done
  keep_limits </dev/null >/dev/null 2>&1 3<&- 4>&- 5>&- &
  watchdog_pid=$!
}

# stop_watchdog: by a signal. One that arrives while the process starts is lost, so it looks for the file then.
stop_watchdog() {
  { true >"$scratch/over"; } 2>/dev/null
  kill "$watchdog_pid" 2>/dev/null
}

# keep_limits: signals the supervisor at the first limit until it has ended, because a signal may arrive between two of
# its instructions. Kills the job itself if the supervisor is dead, or does not react.
keep_limits() {
  reset_signals
  end_with_child
  # see announce_end
  [ "$signals" = all ] || trap 'end_announced=yes' USR1
  [ ! -e "$scratch/over" ] || exit 0
  process_start $$
  supervisor_start=$start
  [ ! -r /proc/self/stat ] || read -r own_pid _ </proc/self/stat
  describe_command "$command_pid"
  began='' end_announced=''
  retry_fork await_limit
  # empty files: their names need no space on the disk
  true >"$scratch/reached_$reached"
  true >"$scratch/deadline"
  rounds=0
  while process_start $$ && [ "$start" = "$supervisor_start" ]; do
    # it may be stopped
    kill -s USR1 $$ && kill -s CONT $$
    retry_fork pause
    rounds=$((rounds + 1))
    [ "$rounds" -ne $((kill_grace * 10 + 150)) ] || { emit ended >"$scratch/deadline" && end_unsupervised; }
  done
  # the attempt was removed, and another one may have its number now
  [ . -ef "$dir" ] || [ ! -e "$dir" ] || exit 0
  end_unsupervised
}

end_unsupervised() {
  command_lives
  retry_fork kill_job "$mark" "$command_root" "$kill_grace" ''
}

# await_limit: returns when a limit is reached; sets $reached to the word for it. Each check may shorten the $nap until the
# next one.
await_limit() {
  while :; do
    # without a process where possible: there may be none to be had, see retry.sh
    seconds_up
    # an unknown time is not a reason to end a job
    [ -n "$seconds" ] || {
      pause
      continue
    }
    [ -n "$began" ] || begin_watch
    napped=$nap nap=86400
    time_remains && is_active && log_fits || return 0
    checked=$seconds
    sleep "$nap" &
    # it may have been killed before its end
    wait "$!"
    [ -z "$end_announced" ] || kill "$!" 2>/dev/null
  done
}

begin_watch() {
  began=$seconds active=$seconds checked=$seconds nap=0 ends_at='' reached=time_limit warned='' log_size=0 log_nap=1
  measured_at=$seconds
  [ -z "$time_limit" ] || ends_at=$((began + time_limit))
  # see is_active and log_fits
  true >"$scratch/active"
  true >"$scratch/measured"
}

nap_at_most() { [ "$1" -ge "$nap" ] || nap=$1; }

# time_remains: whether the time limit is not reached. Gives the warning before it.
time_remains() {
  if [ -n "$end_announced" ]; then
    end_announced='' announced_end=$((seconds + warning_time))
    if [ "${ends_at:-$announced_end}" -ge "$announced_end" ]; then ends_at=$announced_end reached=announced_end; fi
  fi
  [ -n "$ends_at" ] || return 0
  left=$((ends_at - seconds))
  [ "$left" -gt 0 ] || return 1
  if [ -n "$warning_signal" ] && [ -z "$warned" ]; then
    if [ "$left" -gt "$warning_time" ]; then
      left=$((left - warning_time))
    else
      warned=yes
      give_warning
    fi
  fi
  nap_at_most "$left"
}

# is_active: whether log or progress were written within the idle limit. The file `active` is as old as the last look that
# found that one of them was not older than itself: some shells compare whole seconds only.
is_active() {
  [ -n "$idle_limit" ] || return 0
  # a file that was deleted says nothing
  if [ ! -e "$SJ_LOG" ] || [ ! "$scratch/active" -nt "$SJ_LOG" ] ||
    { [ -e "$SJ_PROGRESS" ] && [ ! "$scratch/active" -nt "$SJ_PROGRESS" ]; }; then
    true >"$scratch/active"
    active=$seconds
  fi
  # the job was suspended with this process, or the clock was set
  [ $((seconds - checked)) -ge 0 ] && [ $((seconds - checked)) -le $((napped + 30)) ] || active=$seconds
  idle_left=$((active + idle_limit - seconds))
  [ "$idle_left" -gt 0 ] || { reached=idle_limit && return 1; }
  nap_at_most "$idle_left"
  nap_at_most $((idle_limit / 10 + 1))
}

# log_fits: whether the log is within its limit, or was truncated. A log that grows is measured again when it may have
# grown by half of what is left, but at most every second; any other at least every eight seconds. Sizes are in kB, because
# numbers end at 2 GiB in mksh.
log_fits() {
  [ -n "$log_limit" ] || return 0
  if [ ! "$scratch/measured" -nt "$SJ_LOG" ]; then
    true >"$scratch/measured"
    measure_log
    [ "$size" -lt "$log_limit" ] || {
      [ "$log_action" = truncate ] || { reached=log_limit && return 1; }
      truncate_log
    }
    elapsed=$((seconds - measured_at))
    [ "$elapsed" -ge 1 ] || elapsed=1
    growth=$(((size - log_size) / elapsed)) log_size=$size measured_at=$seconds
    [ "$growth" -le 0 ] || log_nap=$(((log_limit - size) / growth / 2))
  else
    log_nap=$((log_nap * 2))
  fi
  [ "$log_nap" -ge 1 ] || log_nap=1
  [ "$log_nap" -le 8 ] || log_nap=8
  nap_at_most "$log_nap"
}

measure_log() {
  size=$(wc -c <"$SJ_LOG")
  # wc may pad with blanks
  size=${size##* }
  case $size in ????*) size=${size%???} ;; *) size=0 ;; esac
}

# truncate_log: leaves its last lines, at most 64 KiB and half of the limit, after a line that says so. The command appends to
# the same file.
truncate_log() {
  kept=65536
  [ "$log_limit" -ge 132 ] || kept=$((log_limit * 500))
  { tail -c "$kept" "$SJ_LOG" | sed 1d >"$scratch/tail"; } 2>/dev/null
  true >"$SJ_LOG"
  emit "luigi_sshjob: about $size kB of log were removed here, as log_limit is $log_limit kB; the last lines of them follow" >>"$SJ_LOG"
  cat "$scratch/tail" >>"$SJ_LOG"
  rm -f "$scratch/tail"
  measure_log
}

# give_warning: sends the signal to those processes of the job that handle or block it, because others would be ended by
# it, such as a shell that waits for its program. Where that is unknown, all get it but the timer.
give_warning() {
  job_known='' warning_number=1
  until [ "$(kill -l "$warning_number")" = "$warning_signal" ]; do
    warning_number=$((warning_number + 1))
    [ "$warning_number" -lt 32 ] || return 0
  done
  job_processes "$mark" "$command_pid" || return 0
  for known in $job_known; do
    [ "${known%%.*}" = "${timer:+$command_pid}" ] || ! handles_signal "${known%%.*}" "$warning_number" ||
      kill -s "$warning_signal" "${known%%.*}" 2>/dev/null
  done
  return 0
}

# warn_before_term: where nobody leaves more time for it, the warning takes as long as TERM is given, see `kill_grace`.
warn_before_term() {
  retry_fork give_warning
  rounds=0
  [ "$warning_time" -le "$kill_grace" ] || warning_time=$kill_grace
  while [ "$rounds" -lt $((warning_time * 10)) ] && ! command_ended; do
    retry_fork pause
    rounds=$((rounds + 1))
  done
}

# handles_signal PID NUMBER: see SigBlk and SigCgt in proc(5).
handles_signal() {
  [ -r /proc/self/status ] || return 0
  handled=
  {
    while read -r field mask; do
      case $field in SigBlk: | SigCgt:) handled="$handled ${mask#????????}" ;; esac
    done <"/proc/$1/status"
  } 2>/dev/null
  for mask in $handled; do
    [ $((0x$mask >> ($2 - 1) & 1)) -eq 0 ] || return 0
  done
  return 1
}

# announce_end: has the warning given at once, and the job ended after the time of the warning, as the scheduler is about
# to end it. Fails if that was done before, or cannot be done.
announce_end() {
  [ -z "$announced" ] && [ -n "$warning_signal" ] && [ -n "$watchdog_pid" ] || return
  announced=yes ignored=yes
  kill -s USR1 "$watchdog_pid" 2>/dev/null
}

# apply_limit: sets $outcome and $reason of a job that was ended because of a limit.
apply_limit() {
  if [ -e "$scratch/reached_log_limit" ]; then
    outcome=failed
    add_reason "its log was larger than $log_limit kB (log_limit)"
  elif [ -e "$scratch/reached_idle_limit" ]; then
    add_reason "neither its log nor its progress changed for $idle_limit s (idle_limit)"
  elif [ -e "$scratch/reached_time_limit" ]; then
    add_reason "it ran longer than $time_limit s (time_limit)"
  elif [ -n "$scheduler_id" ]; then
    add_reason "the scheduler's time limit was about to expire"
  fi
}
