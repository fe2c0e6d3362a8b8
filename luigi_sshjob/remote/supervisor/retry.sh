# shellcheck shell=sh disable=SC2034,SC2154
# What the supervisor does while no process can be started, as at the account's limit (ulimit -u). In dash and busybox a
# fork that fails ends the whole script, unless `command` stands before what needed it. Bash and mksh try again for 15 and
# for 31 seconds by themselves, and end then.

# $own_pid: of whoever calls `surely`, where it is not the supervisor itself.
own_pid=$$ crowd='' thinned='' thinned_by=''

# surely STEP [ARGUMENT]...: a step that may be done again, and is where it broke off. None within another.
surely() {
  breaks=0
  while :; do
    step_status=
    command eval '"$@"; step_status=$?'
    [ -z "$step_status" ] || return "$step_status"
    # in busybox what breaks off in a subshell goes on here, as if that were the caller
    [ ! -r /proc/self/stat ] || { read -r self _ </proc/self/stat && [ "$self" = "$own_pid" ]; } || exit 2
    breaks=$((breaks + 1))
    # it may also break off for a reason that stays, such as a directory that is deleted
    [ "$breaks" -lt 1000 ] || exit 1
    await_room
  done
}

# await_room: until a process can be started, without starting one to pause.
await_room() {
  until command eval '(exit 0)' 2>/dev/null; do
    [ -z "$crowd" ] || thin_out
  done
}

# thin_out: the job itself may be what leaves no room. So the group of its command, $crowd, is told to end by what needs
# no process, and killed after the grace.
thin_out() {
  if [ -z "$thinned" ]; then
    kill -s TERM -- "-$crowd" 2>/dev/null
    thinned=0
    [ ! -r /proc/uptime ] || read -r thinned _ </proc/uptime
    thinned=${thinned%%.*}
  elif read -r uptime _ </proc/uptime && [ $((${uptime%%.*} - thinned)) -gt "$kill_grace" ]; then
    kill -s KILL -- "-$crowd" 2>/dev/null && thinned_by=KILL
  fi
}
