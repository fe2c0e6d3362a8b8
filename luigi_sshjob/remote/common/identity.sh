# shellcheck shell=sh disable=SC2034
# This machine and its processes, told apart from others that had the same name or number. Builtins alone on Linux.

# machine_identity: sets $machine and $boot. A restarted container keeps the kernel's boot id, hence the
# start of process 1 with it.
machine_identity() {
  if [ -r /proc/sys/kernel/random/boot_id ]; then
    read -r machine </proc/sys/kernel/hostname
    read -r boot </proc/sys/kernel/random/boot_id
    process_start 1 && boot=$boot.$start
  else
    machine=$(uname -n)
    boot=$(sysctl -n kern.boottime 2>/dev/null) || boot=unknown
  fi
}

# process_start PID: sets $start, in the system's own unit; fails where there is no such process, or only
# the remains of one that nobody has waited for.
process_start() {
  if [ -r /proc/self/stat ]; then
    { read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # the name of the program is in parentheses and may hold anything, also parentheses: see proc(5)
    # shellcheck disable=SC2086
    set -- ${stat_line##*) }
    case $1 in Z | X) return 1 ;; esac
    start=${20}
  else
    # in words that are the same for whoever asks; some systems pad them with blanks
    start=$(LC_ALL=C TZ=UTC0 ps -o lstart= -p "$1" 2>/dev/null)
    # shellcheck disable=SC2086
    set -- $start
    start=$*
    [ -n "$start" ]
  fi
}
