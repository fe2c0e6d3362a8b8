# shellcheck shell=sh disable=SC2034,SC2154
# Finds and ends the processes of a job.

# claim_run_marker DIR [SUFFIX [TEXT]]: creates the file that marks the run as claimed; fails if it exists. Exclusive, and
# done by a builtin.
claim_run_marker() {
  set -C
  { { [ -z "${3-}" ] || emit "$3"; } >"$1/$SJ_STARTED${2-}"; } 2>/dev/null
  claimed=$?
  set +C
  return "$claimed"
}

# oom_kills: sets $oom_kills to the number of processes that the kernel has killed for lack of memory since boot, also
# in control groups (proc(5), /proc/vmstat); to nothing if it is unknown.
oom_kills() {
  oom_kills=
  [ -r /proc/vmstat ] || return 0
  while read -r counter oom_kills; do
    [ "$counter" != oom_kill ] || return 0
  done </proc/vmstat
}

# process_table: prints a line "PID PARENT SESSION START" for each process that is not a zombie, then "." if the list is
# complete. Session and start are known only on Linux.
process_table() {
  if [ -r /proc/self/stat ]; then
    for stat_file in /proc/[0-9]*/stat; do
      { read -r stat_line <"$stat_file"; } 2>/dev/null || continue
      # shellcheck disable=SC2086
      set -- "${stat_line%% *}" ${stat_line##*) }
      case $2 in Z | X) ;; *) emit "$1 $3 $5 ${21}" ;; esac
    done
    emit .
  else
    { ps -A -o pid= -o ppid= -o stat= && emit .; } | while read -r pid parent state; do
      case $state in Z*) ;; *) emit "$pid $parent - -" ;; esac
    done
  fi
}

# describe_command PID: sets $job_command, which an identity keeps, to the process, session, group and start of the
# command; on Linux PID may be "self". If there is $setsid, its session and group have the same number.
describe_command() {
  process_start "$1" || return
  described=$1
  [ "$1" != self ] || described=${stat_line%% *}
  job_command="$described ${process_session:--} ${process_group:--} $start"
  [ -z "$setsid" ] || job_command="$described $described $described $start"
}

# command_lives: whether the command in $job_command, or a process in the session or group that it leads, is left. Sets
# $command_root to its number, or to "none". This also finds what the marker does not: programs that have replaced their
# environment.
command_lives() {
  command_root=none
  # shellcheck disable=SC2086
  set -- $job_command
  [ $# -ge 4 ] || return 1
  if process_start "$1"; then
    # a number is not given to another process while a session or a group has it
    [ "$start" = "${job_command#"$1 $2 $3 "}" ] || return 1
  elif [ "$1" != "$2" ] || ! session_lives "$1"; then
    return 1
  fi
  command_root=$1
}

# session_lives ID: whether a process has that session or process group; succeeds also if that cannot be determined.
session_lives() {
  if [ -r /proc/self/stat ]; then
    for stat_file in /proc/[0-9]*/stat; do
      member=${stat_file#/proc/}
      process_start "${member%/stat}" || continue
      [ "$process_session" != "$1" ] && [ "$process_group" != "$1" ] || return 0
    done
    return 1
  fi
  members=$(ps -A -o pgid= -o stat=) || return 0
  while read -r process_group member; do
    case $member in Z*) ;; *) [ "$process_group" != "$1" ] || return 0 ;; esac
  done <<MEMBERS
$members
MEMBERS
  return 1
}

# pids_with_marker MARKERS: sets $marked_pids to the ids of the processes that have a line of MARKERS in their
# environment. Children inherit it, also if they call setsid or fork twice. Fails if that cannot be determined, as on a
# host that allows no more processes: an empty list would be taken for an answer.
pids_with_marker() {
  marked_pids=
  [ -r /proc/self/stat ] || return 0
  # without -z busybox stops at the first NUL
  found=$(grep -lzsF -- "$1" /proc/[0-9]*/environ)
  # 2: environments of other accounts are unreadable
  [ $? -le 2 ] || return 1
  for marked in $found; do
    marked=${marked#/proc/}
    marked_pids=$marked_pids${marked%/environ}$newline
  done
}

# job_processes MARKERS ROOT: sets $job_known to a line PID.START for each process that has one of MARKERS, is ROOT or in
# the session that ROOT leads, is in $job_known, or descends from one of these. ROOT is the $command_root of a command
# that lives, or a child that was not yet waited for, so that its id is not reused. Fails if they cannot be determined
# within about five seconds.
job_processes() {
  scans=0
  until scan_processes "$1" "$2"; do
    scans=$((scans + 1))
    [ "$scans" -lt 50 ] || return 1
    pause
  done
}

scan_processes() {
  pids_with_marker "$1" || return
  # in the environment, because some awks take no line break in -v
  found=$(process_table | SJ_MARKED=$marked_pids SJ_ROOT=$2 SJ_KNOWN=$job_known awk '
    BEGIN {
      root = ENVIRON["SJ_ROOT"]
      n = split(ENVIRON["SJ_MARKED"], list); for (i = 1; i <= n; i++) marked[list[i]]
      n = split(ENVIRON["SJ_KNOWN"], list); for (i = 1; i <= n; i++) seen[list[i]]
    }
    $1 == "." { complete = 1; next }
    {
      parent[$1] = $2; id[$1] = $1 "." $4
      if ($1 == root || $3 == root || $1 in marked || id[$1] in seen) member[$1]
    }
    END {
      do {
        grown = 0
        for (pid in parent) if (!(pid in member) && parent[pid] in member) { member[pid]; grown = 1 }
      } while (grown)
      # parents first, which may react to the end of a child
      for (pid in member) if (pid in id) {
        for (i = ++found; i > 1 && sorted[i - 1] > pid + 0; i--) sorted[i] = sorted[i - 1]
        sorted[i] = pid + 0
      }
      for (i = 1; i <= found; i++) print id[sorted[i]]
      if (complete) print "."
    }')
  # the "." at the end: the table was complete, and so is the output of awk
  case $found in .) job_known= ;; *"$newline.") job_known=${found%.} ;; *) return 1 ;; esac
}

# signal_job SIGNAL MARKERS ROOT [SPARED]: signals all processes that job_processes finds, except SPARED. Fails if it finds
# no process; succeeds if that cannot be determined.
signal_job() {
  job_processes "$2" "$3" || return 0
  [ -n "$job_known" ] || return 1
  for known in $job_known; do
    [ "${known%%.*}" = "${4-}" ] || kill -s "$1" "${known%%.*}" 2>/dev/null
  done
  return 0
}

# name_survivors: sets $survivors to the processes in $job_known, each with its account and program.
name_survivors() {
  survivors=
  for known in $job_known; do
    known=${known%%.*} stat_line='(unknown)'
    { read -r stat_line <"/proc/$known/stat"; } 2>/dev/null
    stat_line=${stat_line#*\(}
    # shellcheck disable=SC2046
    set -- $(ls -ld "/proc/$known" 2>/dev/null)
    survivors="$survivors${survivors:+, }$known (${stat_line%\)*}${3:+ of $3})"
  done
  return 0
}

# kill_job MARKERS ROOT GRACE TIMED: sends TERM, waits up to GRACE seconds, then sends KILL until no process is left;
# fails after another ten seconds. Processes that were seen once are remembered, because the end of a parent hides its
# children. If TIMED is not empty, ROOT is a time(1): it gets no TERM, which would end it before it reports on its
# child. Sets $strongest to the last signal that was needed.
kill_job() {
  job_known=
  strongest=TERM
  spared=
  [ -z "$4" ] || spared=$2
  signal_job TERM "$1" "$2" "$spared" || return 0
  # a stopped process handles a TERM only once it continues
  signal_job CONT "$1" "$2" || return 0
  kill_rounds=0
  while [ "$kill_rounds" -lt $(($3 * 10)) ]; do
    pause
    ! job_processes "$1" "$2" || [ -n "$job_known" ] || return 0
    kill_rounds=$((kill_rounds + 1))
  done
  kill_rounds=0
  strongest=KILL
  while [ "$kill_rounds" -lt 100 ]; do
    signal_job KILL "$1" "$2" || return 0
    pause
    kill_rounds=$((kill_rounds + 1))
  done
  return 1
}
