# shellcheck shell=sh disable=SC2034,SC2154
# Gives a job its slots; common/slots.sh describes the files.
#   1. With the mutex: make a ticket with a number above all others, and lock it.
#   2. Wait until no earlier ticket is held, from the nearest to the first. None can appear any more: this job is the first.
#   3. With the mutex: if what the held grants leave is enough, make a grant, lock it, and remove the ticket. If not, wait until
#      any of these grants is released, and try again.
# Only grants decide who has a slot, and they are made with the mutex; tickets only keep the order. Each wait is a flock(1)
# that blocks, on a file of another job. It holds nothing, so it does no harm if it outlives a supervisor that was killed.
#
# Descriptors: 6 the mutex, 7 a file of another job, 8 the ticket, 9 the grant. The command has the grant as 8, so that it keeps
# its slots if the supervisor is killed. No other process that lasts has either of the two.

grant='' queued_at='' given_supply=''

# take_slots: waits until the job has its slots. Sets $reason if it cannot have them, or was ended before. May be repeated,
# see retry_fork.
take_slots() {
  [ -n "$slots" ] || return 0
  queued_at=${queued_at:-$(date +%s)}
  end_helpers
  [ -n "$grant$reason" ] || await_slots
  drop_ticket
  queue_time=$(($(date +%s) - queued_at))
  [ "$queue_time" -ge 0 ] || queue_time=0
  [ -n "$reason" ] || export_slots
}

await_slots() {
  if prepare_slots && { [ -n "$ticket" ] || with_mutex make_ticket; } && await_earlier; then
    until with_mutex grant_slots || [ -n "$reason$verdict" ]; do await_release; done
  fi
  [ -n "$grant$reason" ] || reason="it was not started"
}

# prepare_slots: refuses what could never be granted before it waits in the queue.
prepare_slots() {
  set_slots_place "${dir%/*/*/*}" "$slots_dir"
  slot_names=$(emit "$slots" | LC_ALL=C tr '[:lower:]' '[:upper:]')
  holder="${newline}job: $key/$attempt${newline}pid: $$"
  if ! command -v flock >/dev/null 2>&1; then
    reason="slots need the program flock (util-linux, busybox), which $machine does not have"
  elif ! mkdir -p "$slots_private"; then
    unwritable "${slots_private%/*/*}"
    reason="cannot create the directory of slots $slots_private: $why"
  elif [ ! -d "$slots_place" ]; then
    # others could not use one that this account makes
    reason="the directory of slots $slots_place does not exist on $machine, or cannot be reached"
  else
    has_supply
  fi
  [ -z "$reason" ]
}

# has_supply: sets $reason if the host has less than the job needs.
has_supply() {
  if ! read_supply; then
    reason="the supply of slots on $machine cannot be used: $slots_place/supply $why"
    return 1
  fi
  for want in $slots; do
    find_supply "${want%:*}" "$slots_supply"
    [ -n "$supply" ] || look_for "${want%:*}" || return
    [ "${supply:-0}" -lt "${want#*:}" ] || continue
    if [ -n "$supply" ]; then
      reason="it needs $want, and $machine has ${want%:*}:$supply ($supply_from)"
    else
      reason="it needs $want, and $machine has no ${want%:*} that was found or declared"
    fi
    return 1
  done
}

# look_for NAME: sets $supply to how many there are, if the host can tell. One job looks for all, because it may take seconds.
look_for() {
  case $1 in gpu | cpu) ;; *) return 0 ;; esac
  looked=
  look_once "$1" 6>>"$slots_private/found.$1"
  [ -n "$looked$reason$verdict" ] || reason="cannot write to the directory $slots_private on $machine"
  [ -z "$reason$verdict" ]
}

look_once() {
  await_lock -x 6 || return
  looked=yes
  find_supply "$1"
  [ -z "$supply" ] || return 0
  # not in a command substitution, because a signal has to end the wait
  { exec 3<&- 4>&- 5>&- 6>&- 8<&- 9<&- && list_devices "$1" >"$slots_private/listed.$$"; } &
  { wait "$!"; } 2>/dev/null
  [ -z "$verdict" ] || kill "$!" 2>/dev/null
  supply=$(count_devices "$1" <"$slots_private/listed.$$")
  rm -f "$slots_private/listed.$$"
  [ -z "$supply" ] || { supply_from=found && emit "$supply" >"$slots_private/found.$1"; }
}

# grant_slots: with the mutex. Fails if it has to wait for one of the grants in $held_grants, or if it sets $reason.
grant_slots() {
  taken=' ' held_grants=''
  has_supply || return
  remove_earlier
  for file in "$slots_place"/1?????????.grant; do
    if ! slot_number "$file" || [ ! -f "$file" ]; then continue; fi
    if [ -r "$file" ] && ! is_held "$file"; then
      [ ! -O "$file" ] || rm -f "$file"
      continue
    fi
    read_slots "$file" 2>/dev/null || {
      reason="the file $file on $machine is in use, and cannot be read as a list of slots"
      return 1
    }
    taken="$taken$slots_read " held_grants="$held_grants $slot_number"
  done
  chosen=
  for want in $slots; do choose_slots "${want%:*}" "${want#*:}" || return; done
  write_grant
}

# choose_slots NAME COUNT: adds the first that are free to $chosen; fails if there are too few.
choose_slots() {
  find_supply "$1" "$slots_supply"
  slot=0 missing=$2
  while [ "$missing" -gt 0 ]; do
    [ "$slot" -lt "$supply" ] || return 1
    case $taken in *" $1:$slot "*) ;; *) chosen="$chosen${chosen:+ }$1:$slot" missing=$((missing - 1)) ;; esac
    slot=$((slot + 1))
  done
}

# write_grant: on a full disk it is tried again, because the job may have waited for long.
write_grant() {
  file=$slots_place/$ticket.grant
  if [ -O "$file" ] && ! is_held "$file"; then
    # of a try that was interrupted
    rm -f "$file"
  elif [ -e "$file" ] || [ -h "$file" ]; then
    # of another job, if a ticket was deleted, or a file that was put there
    next_number
    file=$slots_place/$number.grant
  fi
  if ! write_shared "$file" "$chosen$holder" || ! command eval 'exec 9<>"$file"'; then
    held_grants=''
  elif await_lock -x 9; then
    grant=$file
    return
  fi
  rm -f "$file"
  exec 9<&-
  return 1
}

# export_slots: the numbers of the job's slots, for the command.
export_slots() {
  # shellcheck disable=SC2086
  set -- $slot_names
  for want in $slots; do
    numbers=
    for slot in $chosen; do
      [ "${slot%:*}" != "${want%:*}" ] || numbers=$numbers${numbers:+,}${slot#*:}
    done
    eval "export SSHJOB_SLOT_${1%:*}=\$numbers"
    shift
    [ "${want%:*}" != gpu ] || export CUDA_VISIBLE_DEVICES="$numbers" ROCR_VISIBLE_DEVICES="$numbers" CUDA_DEVICE_ORDER=PCI_BUS_ID
  done
  # listings show since when it runs
  touch "$SJ_STARTED"
}

# release_slots: when the command has ended. The file stays if a process that the command has left holds the grant, or if the
# mutex is locked: then a later job of this account removes it.
release_slots() {
  [ -n "$grant" ] || return 0
  { { ! flock -n -x 6 || forget_grant; } 6<"$slots_place/mutex"; } 2>/dev/null
  exec 9<&-
}

forget_grant() {
  exec 9<&-
  is_held "$grant" || rm -f "$grant"
}
