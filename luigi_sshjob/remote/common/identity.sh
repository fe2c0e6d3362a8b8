# shellcheck shell=sh disable=SC2034
# Identities of this machine and of its processes that outlast a reused name or process id. On Linux only builtins are
# used.

# host_identity: sets $machine to the host name, for people only, and $boot to the id of the running kernel's boot. A
# restarted container keeps that id, so it is followed by the start time of process 1, or by "-" if that cannot be read
# (with hidepid=2).
host_identity() {
  if [ -r /proc/sys/kernel/random/boot_id ]; then
    read -r machine </proc/sys/kernel/hostname
    read -r boot </proc/sys/kernel/random/boot_id
    process_start 1 || start=-
  else
    machine=$(uname -n) start=-
    boot=$(sysctl -n kern.bootsessionuuid || TZ=UTC0 sysctl -n kern.boottime | tr -cd A-Za-z0-9) 2>/dev/null
  fi
  boot=${boot:-unknown}.$start
}

# holder_lives NAME: whether the process that has the name BOOT.PID.START[.…] runs; fails also if it is of another boot.
holder_lives() {
  holder=${1#"$boot".}
  [ "$holder" != "$1" ] && process_start "${holder%%.*}" || return
  case $holder. in "${holder%%.*}.$start."*) ;; *) return 1 ;; esac
}

# process_start PID: sets $start, in the system's own unit; fails if there is no such process, or only a zombie.
process_start() {
  if [ -r /proc/self/stat ]; then
    { read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # the program's name is in parentheses and may contain anything, also parentheses: see proc(5)
    # shellcheck disable=SC2086
    set -- ${stat_line##*) }
    case $1 in Z | X) return 1 ;; esac
    start=${20} process_group=$3 process_session=$4
  else
    # the same text in each locale and time zone; some systems pad it with blanks
    start=$(LC_ALL=C TZ=UTC0 ps -o lstart= -p "$1" 2>/dev/null)
    # shellcheck disable=SC2086
    set -- $start
    start=$*
    [ -n "$start" ]
  fi
}
