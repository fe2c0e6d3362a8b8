# shellcheck shell=sh disable=SC2034,SC2154
# Retries steps of the supervisor while no process can be started, as at the account's limit (ulimit -u). In dash and
# busybox a fork that fails ends the whole script, unless it happens below `command`. Bash and mksh retry on their own
# for 15 and for 31 seconds, then end.

# $own_pid: the process that calls retry_fork, if it is not the supervisor. $command_group: the process group of the
# command, to be ended if it leaves no room for a process.
own_pid=$$ command_group='' group_signalled_at='' group_killed_by='' began=''

# retry_fork STEP [ARGUMENT]...: runs a step that may be repeated, and repeats it if a failed fork interrupts it. Not to
# be nested.
retry_fork() {
  interruptions=0
  while :; do
    step_status=
    command eval '"$@"; step_status=$?'
    [ -z "$step_status" ] || return "$step_status"
    # in busybox a subshell that is interrupted continues here, as if it were the caller
    [ ! -r /proc/self/stat ] || { read -r self _ </proc/self/stat && [ "$self" = "$own_pid" ]; } || exit 2
    interruptions=$((interruptions + 1))
    # the reason may also be permanent, such as a deleted directory
    [ "$interruptions" -lt 1000 ] || exit 1
    await_fork
  done
}

# await_fork: returns once a process can be started; no process is needed for the wait.
await_fork() {
  until command eval '(exit 0)' 2>/dev/null; do
    [ -z "$command_group" ] || kill_group_without_fork
    # in the process that keeps the limits
    ! has_passed || return 0
  done
}

# kill_group_without_fork: sends TERM to $command_group, and KILL after the grace period, with builtins only.
kill_group_without_fork() {
  if [ -z "$group_signalled_at" ]; then
    kill -s TERM -- "-$command_group" 2>/dev/null
    group_signalled_at=0
    [ ! -r /proc/uptime ] || read -r group_signalled_at _ </proc/uptime
    group_signalled_at=${group_signalled_at%%.*}
  elif read -r uptime _ </proc/uptime && [ $((${uptime%%.*} - group_signalled_at)) -gt "$kill_grace" ]; then
    kill -s KILL -- "-$command_group" 2>/dev/null && group_killed_by=KILL
  fi
}
