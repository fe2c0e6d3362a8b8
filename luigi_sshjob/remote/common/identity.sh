# shellcheck shell=sh disable=SC2034
# Identities of this host and of its processes that outlast a reused name or process id. On Linux only builtins are
# used.

# host_identity: sets $machine and $boot. A restarted container keeps the kernel's boot id, so $boot includes the start
# time of process 1.
host_identity() {
  if [ -r /proc/sys/kernel/random/boot_id ]; then
    read -r machine </proc/sys/kernel/hostname
    read -r boot </proc/sys/kernel/random/boot_id
    process_start 1 && boot=$boot.$start
  else
    machine=$(uname -n)
    boot=$(sysctl -n kern.boottime 2>/dev/null) || boot=unknown
  fi
}

# process_start PID: sets $start, in the system's own unit; fails if there is no such process, or only a zombie.
process_start() {
  if [ -r /proc/self/stat ]; then
    { read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # the program's name is in parentheses and may contain anything, also parentheses: see proc(5)
    # shellcheck disable=SC2086
    set -- ${stat_line##*) }
    case $1 in Z | X) return 1 ;; esac
    start=${20}
  else
    # the same text in each locale and time zone; some systems pad it with blanks
    start=$(LC_ALL=C TZ=UTC0 ps -o lstart= -p "$1" 2>/dev/null)
    # shellcheck disable=SC2086
    set -- $start
    start=$*
    [ -n "$start" ]
  fi
}
