# shellcheck shell=sh disable=SC2034,SC2154
# Enforces the time limit, in a process of its own.

start_watchdog() {
  # of an earlier run of the same attempt, see `requeue`
  [ ! -e "$scratch/over" ] || rm -f "$scratch/over"
  keep_deadline </dev/null >/dev/null 2>&1 3<&- 4>&- 5>&- &
  deadline_pid=$!
}

# stop_watchdog: by a signal. One that arrives while the process starts is lost, so it looks for the file then.
stop_watchdog() {
  { true >"$scratch/over"; } 2>/dev/null
  kill "$deadline_pid" 2>/dev/null
}

# keep_deadline: signals the supervisor at the time limit until it has ended, because a signal may arrive between two of
# its instructions. Kills the job itself if the supervisor is dead, or does not react.
keep_deadline() {
  reset_signals
  end_with_child
  [ ! -e "$scratch/over" ] || exit 0
  process_start $$
  supervisor_start=$start
  [ ! -r /proc/self/stat ] || read -r own_pid _ </proc/self/stat
  describe_command "$command_pid"
  deadline=
  retry_fork await_deadline
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
  # shellcheck disable=SC3013
  [ . -ef "$dir" ] || [ ! -e "$dir" ] || exit 0
  end_unsupervised
}

end_unsupervised() {
  command_lives
  retry_fork kill_job "$mark" "$command_root" "$kill_grace" ''
}

await_deadline() {
  while :; do
    seconds=$(date +%s)
    # an unknown time is not a reason to end a job
    [ -n "$seconds" ] || {
      pause
      continue
    }
    deadline=${deadline:-$((seconds + time_limit))}
    [ "$seconds" -lt "$deadline" ] || return 0
    sleep $((deadline - seconds)) &
    # the sleep may have been killed before its end
    wait "$!" && return
  done
}
