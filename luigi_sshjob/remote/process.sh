# shellcheck shell=sh disable=SC2034,SC2154
# Which processes there are, told apart from others that had the same number. Builtins alone on Linux.

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
    start=$(ps -o lstart= -p "$1" 2>/dev/null)
    [ -n "$start" ]
  fi
}

# job_processes MARK ROOT: prints the numbers of the processes that carry MARK in their environment, are in
# the session that ROOT leads, or descend from ROOT.
job_processes() {
  if [ -r /proc/self/stat ]; then
    # shellcheck disable=SC2013  # numbers, no spaces
    for stat_file in $(grep -lsF -- "$1" /proc/[0-9]*/environ); do
      stat_file=${stat_file#/proc/}
      emit "${stat_file%/environ}"
    done
    for stat_file in /proc/[0-9]*/stat; do
      session_member "$stat_file" "$2"
    done
  else
    ps -A -o pid= -o ppid= -o stat= | awk -v root="$2" '
      $3 !~ /^Z/ { parent[$1] = $2 }
      END { for (pid in parent) { up = pid; while (up > 1 && up != root) up = parent[up] + 0; if (up == root) print pid } }'
  fi
}

# session_member STAT_FILE SESSION: prints the process's number where it belongs to that session.
session_member() {
  { read -r stat_line <"$1"; } 2>/dev/null || return 0
  wanted=$2
  # shellcheck disable=SC2086
  set -- "${stat_line%% *}" ${stat_line##*) }
  case $2 in Z | X) return 0 ;; esac
  [ "$5" != "$wanted" ] || emit "$1"
}

# signal_job SIGNAL MARK ROOT: fails when nothing is left to signal.
signal_job() {
  job_pids=$(job_processes "$2" "$3")
  [ -n "$job_pids" ] || return 1
  # shellcheck disable=SC2086
  kill -s "$1" $job_pids 2>/dev/null
  return 0
}

# kill_job MARK ROOT GRACE: TERM, at most GRACE seconds, then KILL until nothing is left; fails after
# another ten seconds of that.
kill_job() {
  signal_job TERM "$1" "$2" || return 0
  # a stopped process takes a TERM only once it goes on
  signal_job CONT "$1" "$2" || return 0
  kill_rounds=0
  while [ "$kill_rounds" -lt $(($3 * 10)) ]; do
    pause
    [ -n "$(job_processes "$1" "$2")" ] || return 0
    kill_rounds=$((kill_rounds + 1))
  done
  kill_rounds=0
  while [ "$kill_rounds" -lt 100 ]; do
    signal_job KILL "$1" "$2" || return 0
    pause
    kill_rounds=$((kill_rounds + 1))
  done
  return 1
}
