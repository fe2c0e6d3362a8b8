# shellcheck shell=sh disable=SC2034,SC2154
# The queue for slots, and the locks that it consists of; slots.sh has the protocol, and the descriptors.

ticket='' helpers=''

# with_mutex STEP: runs it while no other job runs such a step here. An own file is opened for writing, because network file
# systems lock no others exclusively.
with_mutex() {
  [ -e "$slots_place/mutex" ] || write_shared "$slots_place/mutex" ''
  step_taken=
  if [ ! -f "$slots_place/mutex" ] || [ -h "$slots_place/mutex" ]; then
    :
  elif [ -O "$slots_place/mutex" ]; then
    locked_step "$1" 6<>"$slots_place/mutex"
  else
    locked_step "$1" 6<"$slots_place/mutex"
  fi
  [ -n "$step_taken" ] || reason="cannot open the file $slots_place/mutex on $machine"
  [ "$step_taken" = well ]
}

locked_step() {
  step_taken=failed
  await_lock -x 6 || return
  ! "$1" || step_taken=well
}

# await_lock OPTION DESCRIPTOR: locks the file; fails if a signal ends the wait, or the file cannot be locked.
await_lock() {
  while [ -z "$verdict" ]; do
    flock "$1" 7 7<&"$2" 3<&- 4>&- 5>&- 6<&- 8<&- 9<&- &
    { wait "$!"; } 2>/dev/null
    lock_status=$?
    if [ "$lock_status" -le 128 ]; then
      [ "$lock_status" -eq 0 ] || [ -n "$reason" ] || [ "$1" = -s ] ||
        reason="files in $slots_place on $machine cannot be locked: flock has failed with status $lock_status"
      return "$lock_status"
    fi
    # the wait was interrupted, or the process was killed
    kill -s KILL "$!" 2>/dev/null
    { wait "$!"; } 2>/dev/null
  done
  return 1
}

# write_shared FILE TEXT: creates it; other accounts may read it if they share the directory.
write_shared() {
  (
    [ "$slots_place" = "$slots_private" ] || umask 022
    set -C
    # a FIFO would be opened
    [ ! -e "$1" ] && [ ! -h "$1" ] && emit "$2" >"$1"
  ) 2>/dev/null
}

# make_ticket: with the mutex. A number is above those of all files there, so it is not that of another job.
make_ticket() {
  why='no number is left'
  next_number
  file=$slots_place/$number.ticket
  if [ "$number" -gt 1999999999 ] || ! write_shared "$file" "$slots$holder" || ! command eval 'exec 8<>"$file"'; then
    [ "$number" -gt 1999999999 ] || unwritable "$slots_place"
    reason="cannot make a ticket in the directory of slots $slots_place on $machine: $why"
    return 1
  fi
  if await_lock -x 8; then
    ticket=$number
  else
    rm -f "$file"
    exec 8<&-
    return 1
  fi
}

# next_number: with the mutex. Sets $number to one above those of all tickets and grants.
next_number() {
  number=1000000000
  for file in "$slots_place"/1?????????.ticket "$slots_place"/1?????????.grant; do
    if slot_number "$file" && [ "$slot_number" -gt "$number" ]; then number=$slot_number; fi
  done
  number=$((number + 1))
}

# remove_earlier: the tickets of this account with lower numbers: no process holds one when it is the turn of this job.
remove_earlier() {
  set --
  for file in "$slots_place"/1?????????.ticket; do
    if slot_number "$file" && [ "$slot_number" -lt "$ticket" ] && [ -f "$file" ] && [ -O "$file" ]; then set -- "$@" "$file"; fi
  done
  [ $# -eq 0 ] || rm -f "$@"
}

# await_earlier: fails if a signal ends the wait.
await_earlier() {
  earlier=
  for file in "$slots_place"/1?????????.ticket; do
    if slot_number "$file" && [ "$slot_number" -lt "$ticket" ]; then earlier="$slot_number $earlier"; fi
  done
  for number in $earlier; do await_ticket "$slots_place/$number.ticket"; done
  [ -z "$verdict" ]
}

# await_ticket FILE: one that cannot be opened is not waited for: it was removed, or is not that of a job.
await_ticket() {
  while [ -z "$verdict" ] && [ -f "$1" ] && [ ! -h "$1" ] && [ -r "$1" ]; do
    lock_status=0
    { await_lock -s 7 7<"$1"; } 2>/dev/null
    [ "$lock_status" -ne 0 ] || return 0
    pause
  done
}

# await_release: returns when one of $held_grants was released. A shell cannot wait for the first of several processes: so one
# waits for the first grant, and others, each for another grant, end that one. Without any grant it waits ten seconds.
await_release() {
  # shellcheck disable=SC2086
  set -- $held_grants
  [ -z "$verdict" ] || return 0
  if [ $# -eq 0 ]; then
    sleep 10 3<&- 4>&- 5>&- 8<&- 9<&- &
  else
    flock -s 7 2>/dev/null 7<"$slots_place/$1.grant" 3<&- 4>&- 5>&- 8<&- 9<&- &
    shift
  fi
  waiter=$! helpers=$!
  process_start "$waiter"
  waiter_start=$start
  for number; do
    # by exec, because in dash a redirection of a function keeps a copy: it would hold the ticket
    { exec 3<&- 4>&- 5>&- 8<&- 9<&- && wake_after "$slots_place/$number.grant"; } &
    helpers="$helpers $!"
  done
  [ -n "$verdict" ] || { wait "$waiter"; } 2>/dev/null
  end_helpers
}

# wake_after FILE: in a process of its own. If the supervisor was killed, the number of the process that waits may be that of
# another one by then.
wake_after() {
  reset_signals
  end_with_child
  # a TERM before the trap was lost; then the process that waits has been ended before
  process_start "$waiter" && [ "$start" = "$waiter_start" ] || return
  {
    flock -s 7 &
    wait "$!"
    true
  } 7<"$1"
  ! process_start "$waiter" || [ "$start" != "$waiter_start" ] || kill -s KILL "$waiter"
} 2>/dev/null

end_helpers() {
  for helper in $helpers; do
    if [ "$helper" = "$waiter" ]; then kill -s KILL "$helper"; else kill "$helper"; fi
    wait "$helper"
  done 2>/dev/null
  helpers=
}

# drop_ticket: a person may have deleted it, and a later job may have its number.
drop_ticket() {
  [ -n "$ticket" ] || return 0
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  [ ! -e "/proc/$$/fd/8" ] || [ ! "/proc/$$/fd/8" -ef "$slots_place/$ticket.ticket" ] || rm -f "$slots_place/$ticket.ticket"
  exec 8<&-
  ticket=
}
