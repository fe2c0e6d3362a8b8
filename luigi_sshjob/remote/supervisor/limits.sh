# shellcheck shell=sh disable=SC2034,SC2154,SC3013  # -nt is in dash, bash, busybox, mksh and in POSIX since 2024
# Enforces the limits of time, idleness and log, in a process of its own.

start_watchdog() {
  # of an earlier run of the same attempt, see `requeue`
  for stale in "$scratch/over" "$scratch/deadline" "$scratch/warned" "$scratch"/reached_*; do
    [ ! -e "$stale" ] || rm -f "$stale"
  done
  # it would end the process, as long as that has no trap
  [ -z "$warning_signal" ] || trap '' USR1
  # by exec, because in dash a redirection of a function keeps a copy: it would hold the slots of the job
  { exec 9<&- && keep_limits; } </dev/null >/dev/null 2>&1 3<&- 4>&- 5>&- &
  watchdog_pid=$!
  trap 'on_limit' USR1
}

# stop_watchdog: by a signal. One that arrives while the process starts is lost, so it looks for the file then. It may be
# shortening the log.
stop_watchdog() {
  { true >"$scratch/over"; } 2>/dev/null
  kill "$watchdog_pid" 2>/dev/null
  [ "$log_action" != truncate ] || { wait "$watchdog_pid"; } 2>/dev/null
}

# keep_limits: signals the supervisor at the first limit until it has ended, because a signal may arrive between two of
# its instructions. Kills the job itself if the supervisor is dead, or does not react.
keep_limits() {
  began='' end_announced='' nap_pid=''
  reset_signals
  end_with_child
  # see announce_end
  [ "$signals" = all ] || trap 'end_announced=yes && end_nap' USR1
  [ ! -e "$scratch/over" ] || exit 0
  process_start $$
  supervisor_start=$start
  [ ! -r /proc/self/stat ] || read -r own_pid _ </proc/self/stat
  describe_command "$command_pid"
  retry_fork await_limit
  # see has_passed
  began=
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
    nap_pid=
    # without a process where possible: there may be none to be had, see has_passed
    seconds_up
    # an unknown time is not a reason to end a job
    [ -n "$seconds" ] || {
      pause
      continue
    }
    [ -n "$began" ] || begin_watch
    napped=$nap nap=86400
    time_remains && is_active && log_fits || return 0
    sleep "$nap" &
    nap_pid=$!
    [ -z "$end_announced" ] || end_nap
    # it may have been killed before its end
    wait "$nap_pid"
    true
  done
}

end_nap() { [ -z "$nap_pid" ] || kill "$nap_pid" 2>/dev/null; }

# has_passed: whether a limit has passed, with builtins only, while no process can be started.
has_passed() {
  [ -n "$began" ] && seconds_up && [ -n "$seconds" ] || return
  { [ -n "$ends_at" ] && [ "$seconds" -ge "$ends_at" ]; } || ! is_active
}

begin_watch() {
  began=$seconds active=$seconds checked=$seconds nap=0 ends_at='' reached=time_limit warned='' log_size=0 log_nap=1
  measured_at=$seconds
  [ -z "$time_limit" ] || ends_at=$((began + time_limit))
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
      give_warning
      # after it, because it may be interrupted, see retry_fork
      warned=yes
    fi
  fi
  nap_at_most "$left"
}

# changed_since MARK FILE: whether the file was written since the file MARK of the same name was, or that is unknown, as after
# a change of the clock, or if the file was deleted; the mark is set to now in that case. Some shells compare whole seconds
# only, so a file that is not older has changed.
changed_since() {
  if [ -e "$2" ] && [ "$scratch/$1" -nt "$2" ]; then
    true >"$scratch/now"
    [ "$scratch/$1" -nt "$scratch/now" ] || return 1
  fi
  true >"$scratch/$1"
}

# is_active: whether log or progress were written within the idle limit. Time in which this process was stopped, as with the
# job or the machine, does not count.
is_active() {
  [ -n "$idle_limit" ] || return 0
  late=$((seconds - checked - napped))
  [ "$late" -le 1 ] || active=$((active + late))
  checked=$seconds napped=0
  if changed_since active "$SJ_LOG" || { [ -e "$SJ_PROGRESS" ] && changed_since active "$SJ_PROGRESS"; } ||
    [ "$active" -gt "$seconds" ]; then
    active=$seconds
  fi
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
  if [ -e "$SJ_LOG" ] && changed_since measured "$SJ_LOG"; then
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
# the same file. They are kept in a variable, because the disk may be full. Is not to be interrupted in between.
truncate_log() {
  trap '' TERM
  kept_bytes=65536
  [ "$log_limit" -ge 132 ] || kept_bytes=$((log_limit * 500))
  # without the first line, of which only a part is left, unless there is no other
  last_lines=$(tail -c "$kept_bytes" "$SJ_LOG" | sed '1{$!d;}')
  true >"$SJ_LOG"
  emit "luigi_sshjob: about $size kB of log were removed here, as log_limit is $log_limit kB${last_lines:+; their last lines follow}" >>"$SJ_LOG"
  [ -z "$last_lines" ] || emit "$last_lines" >>"$SJ_LOG"
  last_lines=
  end_with_child
  [ ! -e "$scratch/over" ] || exit 0
  measure_log
}

# has_own_limit: whether a limit of the job was reached, not one of its scheduler.
has_own_limit() {
  [ -e "$scratch/reached_log_limit" ] || [ -e "$scratch/reached_idle_limit" ] || [ -e "$scratch/reached_time_limit" ]
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
