# shellcheck shell=sh disable=SC2034,SC2154,SC3045
# What keeps a job from disturbing others: low priorities, and limits of its memory and CPU time. The spec has $nice, $ionice,
# $memory_kib and $cpu_quota (microseconds in each 100000). Runs in the job directory. No bytes are counted, because mksh has
# numbers of 32 bits.

nice='' ionice='' memory_kib='' cpu_quota='' nice_program='' ionice_program='' ionice_options='' autogroup=''
cgroup='' cgroup_peak='' memory_kept='' cpu_kept='' address_space='' limited_by='' not_applied='' memory_exceeded='' spared=''

# prepare_gentle: finds out what this host offers. Sets $limited_by and $not_applied for the record, and $reason if the host
# cannot limit memory at all: without its limit the job could take down others.
prepare_gentle() {
  limited_by='' not_applied='' address_space=''
  [ -z "$nice" ] || { gentle_program nice -n "$nice" && nice_program=$gentle_program && find_autogroup; } || not_applied='nice'
  case $ionice in idle) ionice_options='-c 3' ;; *) ionice_options="-c 2 -n ${ionice#*:}" ;; esac
  # shellcheck disable=SC2086  # options
  [ -z "$ionice" ] || { gentle_program ionice $ionice_options && ionice_program=$gentle_program; } ||
    not_applied="$not_applied ionice"
  [ -z "$memory_kib$cpu_quota" ] || limit_by_cgroup
  [ -z "$memory_kib" ] || [ -n "$memory_kept" ] || limit_address_space
  [ -z "$cpu_quota" ] || [ -n "$cpu_kept" ] || not_applied="$not_applied cpu_limit"
  not_applied=${not_applied# }
  [ -z "$not_applied" ] || emit "luigi_sshjob: this host cannot apply: $not_applied" >&2
  # ended while it waited for systemd
  [ -z "$verdict" ] || reason="it was not started"
}

# gentle_program NAME OPTION...: sets $gentle_program to it; fails unless it works with these options, because then it would
# not start the command.
gentle_program() {
  for gentle_program in "/usr/bin/$1" "/bin/$1"; do
    [ ! -x "$gentle_program" ] || break
  done
  shift
  "$gentle_program" "$@" true 2>/dev/null
}

# find_autogroup: sets $autogroup if the kernel divides the CPU among sessions, whose processes then count only as a whole:
# the priority of a session is one of its own, see sched(7).
find_autogroup() {
  autogroup=''
  { read -r autogroup </proc/sys/kernel/sched_autogroup_enabled; } 2>/dev/null
  [ "$autogroup" = 1 ] || autogroup=
}

# autogroup_nice: a script that sets the priority of the session whose first process it is, and becomes its arguments. The
# kernel accepts ten changes in a second, of all accounts together.
# shellcheck disable=SC2016  # that script expands them
autogroup_nice='tries=0
until { echo "$0" >/proc/self/autogroup; } 2>/dev/null || [ "$tries" -ge 30 ]; do tries=$((tries + 1)) && sleep 0.1; done
exec "$@"'

# limit_address_space: the fallback for memory. It counts each process on its own, with what it only reserves.
limit_address_space() {
  address_space=$memory_kib soft_limit=$(ulimit -S -v)
  case $soft_limit in
    # a number that is too large for a shell is no lower limit, either
    '' | *[!0-9]* | ??????????*) ;;
    *) [ "$soft_limit" -ge "$memory_kib" ] || address_space=$soft_limit ;;
  esac
  # a lower limit of the account cannot be raised
  { (ulimit -v "$address_space"); } 2>/dev/null || address_space=$(ulimit -H -v)
  if limits_address_space; then
    limited_by=${limited_by:+$limited_by, }'ulimit -v'
  else
    reason="the job was not started: this host cannot keep its memory_limit, as it has neither a control group for the job nor a working ulimit -v"
  fi
}

# limit_by_cgroup: sets $memory_kept and $cpu_kept, and $cgroup if there is one of them.
limit_by_cgroup() {
  memory_kept='' cpu_kept=''
  make_cgroup && set_limits && { (emit 0 >"$cgroup/cgroup.procs"); } 2>/dev/null && limited_by=$limiter && return
  [ -z "$cgroup" ] || remove_group "$cgroup"
  memory_kept='' cpu_kept='' cgroup=''
}

# set_limits: fails if there is none of them.
set_limits() {
  if [ -n "$memory_kib" ] && set_limit memory.max "${memory_kib}K"; then
    memory_kept=yes
    # memory is not moved to the disk instead; and what is left of a job without one of its processes may never end
    set_limit memory.swap.max 0
    set_limit memory.oom.group 1
  fi
  [ -z "$cpu_quota" ] || ! set_limit cpu.max "$cpu_quota 100000" || cpu_kept=yes
  # the priority of a process counts within its group only
  [ -z "$nice" ] || { emit "$nice" >"${cgroup%/job}/cpu.weight.nice"; } 2>/dev/null
  [ -n "$memory_kept$cpu_kept" ]
}

# set_limit FILE VALUE: fails if the group has no such limit, or does not keep it.
set_limit() {
  group_limit=
  { emit "$2" >"$cgroup/$1" && read -r group_limit <"$cgroup/$1"; } 2>/dev/null
  case $group_limit in '' | max*) return 1 ;; esac
}

# make_cgroup: sets $cgroup to the group of the job. This process is not in it, as it has to outlive the job.
make_cgroup() {
  find_limiter
  in_scope && limiter='systemd scope'
  case $limiter in
    'systemd scope')
      in_scope || enter_scope || return
      cgroup=/sys/fs/cgroup${own_cgroup%/supervisor}/job
      # only a group without processes can be divided
      { mkdir -p "${cgroup%/job}/supervisor" && emit $$ >"${cgroup%/job}/supervisor/cgroup.procs"; } 2>/dev/null || return
      ;;
    cgroup)
      cgroup=/sys/fs/cgroup/sshjob-$token
      # for collect.sh, if this process is killed
      emit "$cgroup" >"$SJ_CGROUP" || return
      ;;
    *) return 1 ;;
  esac
  for cgroup_controller in memory cpu; do
    { emit "+$cgroup_controller" >"${cgroup%/*}/cgroup.subtree_control"; } 2>/dev/null
  done
  mkdir -p "$cgroup" 2>/dev/null
}

# in_scope: of the job, also after an interruption, see retry_fork.
in_scope() { case $own_cgroup in */"sshjob-$token.scope"*) ;; *) return 1 ;; esac }

# enter_scope: moves this process to a new scope of systemd, which vanishes with its last process. What systemd-run does, but
# that can only start a process. It waits in the background, so that a signal ends the wait.
enter_scope() {
  bus_option=--system
  [ "$account_id" -eq 0 ] || bus_option=--user
  { exec 3<&- 4>&- 5>&- 8<&- 9<&- && request_scope; } </dev/null >/dev/null 2>&1 &
  { wait "$!"; } 2>/dev/null || return
  scope_rounds=0
  while own_cgroup && [ "$scope_rounds" -lt 50 ]; do
    ! in_scope || return 0
    pause
    scope_rounds=$((scope_rounds + 1))
  done
  return 1
}

# request_scope: without a limit of its own for the number of processes. On another bus of the account there is no systemd.
request_scope() {
  manager='org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager'
  # shellcheck disable=SC2086
  DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$account_id/bus timeout 10 busctl "$bus_option" --quiet --timeout=5 call $manager \
    StartTransientUnit 'ssa(sv)a(sa(sv))' "sshjob-$token.scope" fail 4 PIDs au 1 $$ Delegate b true \
    TasksMax t 18446744073709551615 Description s "luigi_sshjob $key/$attempt" 0
}

# enter_limits: in the process that becomes the command.
enter_limits() {
  [ -z "$cgroup" ] || emit 0 >"$cgroup/cgroup.procs" || exit 126
  [ -z "$address_space" ] || ulimit -v "$address_space" || exit 126
}

# read_cgroup: what the kernel has counted for the job as a whole: sets $cgroup_peak (bytes), $memory_exceeded if the kernel
# has killed a process because the job had reached its limit, and $spared if it has killed none of the job.
read_cgroup() {
  [ -n "$cgroup" ] || return 0
  # since Linux 5.19
  [ ! -r "$cgroup/memory.peak" ] || read -r cgroup_peak <"$cgroup/memory.peak"
  count_event memory.events oom_kill || return 0
  [ "$counted" -gt 0 ] || spared=yes
  [ -n "$memory_kept" ] && [ -z "$spared" ] || return 0
  # not that of a group which the job has made in its own, and not a lack of memory on this machine
  count_event memory.events.local oom || count_event memory.events oom
  [ "$counted" -eq 0 ] || memory_exceeded=yes
}

# count_event FILE EVENT: sets $counted; fails if there is no such file.
count_event() {
  counted=0
  [ -r "$cgroup/$1" ] || return
  while read -r counter found_count; do
    [ "$counter" != "$2" ] || counted=$found_count
  done <"$cgroup/$1"
}

# name_memory_limit: sets $memory_limit to the limit with a unit, for people.
name_memory_limit() {
  memory_limit=$memory_kib memory_tenth=0 memory_unit=KiB
  for larger_unit in MiB GiB; do
    [ "$memory_limit" -ge 1024 ] || break
    memory_tenth=$((memory_limit % 1024 * 10 / 1024)) memory_limit=$((memory_limit / 1024)) memory_unit=$larger_unit
  done
  memory_limit="$memory_limit.$memory_tenth $memory_unit"
}

# describe_limits: sets $limit_lines to lines of the exit record.
describe_limits() {
  limit_lines=${cgroup_peak:+${newline}cgroup_peak: $cgroup_peak B}${limited_by:+${newline}limited_by: $limited_by}
  limit_lines=$limit_lines${not_applied:+${newline}not_applied: $not_applied}
}

# end_cgroup: removes the group of the job once its last processes have ended.
end_cgroup() {
  removal_rounds=0
  while remove_group "$cgroup" && [ -d "$cgroup" ] && [ "$removal_rounds" -lt 50 ]; do
    pause
    removal_rounds=$((removal_rounds + 1))
  done
}
