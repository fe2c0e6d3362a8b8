# shellcheck shell=sh disable=SC2034,SC2154
# The processes of a job: which there are, and how they are ended.

# win_run DIR [AGAIN]: makes the file that says that the run is somebody's; fails where it is. Exclusive, by a builtin.
win_run() {
  set -C
  { true >"$1/$SJ_STARTED${2-}"; } 2>/dev/null
  won=$?
  set +C
  return "$won"
}

# oom_kills: sets $oom_kills, how often the kernel of this machine has killed for want of memory since it started, in
# control groups too (proc(5), /proc/vmstat); to nothing where it does not say.
oom_kills() {
  oom_kills=
  [ -r /proc/vmstat ] || return 0
  while read -r counter oom_kills; do
    [ "$counter" != oom_kill ] || return 0
  done </proc/vmstat
}

# process_table: a line "PID PARENT SESSION START" for each process that is not a zombie, and a "." when it has named all.
# Beyond Linux no session and no start is known.
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

# carriers MARK: sets $carriers to the numbers of the processes that have MARK in their environment, which children
# inherit also when they call setsid or fork twice. Fails where that could not be found out, as on a host that allows no
# more processes: then nobody must think that there are none.
carriers() {
  carriers=
  [ -r /proc/self/stat ] || return 0
  # grep takes a line break for the end of a pattern. Without -z that of busybox stops at the first NUL.
  found=$(grep -lzsF -- "${1##*"$newline"}" /proc/[0-9]*/environ)
  # 2: among those of others there are some that may not be read
  [ $? -le 2 ] || return 1
  for carrier in $found; do
    carrier=${carrier#/proc/}
    carriers=$carriers${carrier%/environ}$newline
  done
}

# job_processes MARK ROOT: sets $job_known to a line PID.START for each process that carries MARK, is ROOT or in the
# session it leads, is in $job_known, or descends from one of those. ROOT must be a child not yet waited for, so that its
# number is nobody else's, or "none". Fails where that could not be found out in five seconds or so.
job_processes() {
  scans=0
  until scan_processes "$1" "$2"; do
    scans=$((scans + 1))
    [ "$scans" -lt 50 ] || return 1
    pause
  done
}

# scan_processes MARK ROOT: as job_processes, once.
scan_processes() {
  carriers "$1" || return
  # in the environment, as some awks take no line break in -v
  found=$(process_table | SJ_MARKED=$carriers SJ_ROOT=$2 SJ_KNOWN=$job_known awk '
    BEGIN {
      root = ENVIRON["SJ_ROOT"]
      n = split(ENVIRON["SJ_MARKED"], list); for (i = 1; i <= n; i++) carries[list[i]]
      n = split(ENVIRON["SJ_KNOWN"], list); for (i = 1; i <= n; i++) seen[list[i]]
    }
    $1 == "." { whole = 1; next }
    {
      parent[$1] = $2; id[$1] = $1 "." $4
      if ($1 == root || $3 == root || $1 in carries || id[$1] in seen) member[$1]
    }
    END {
      do {
        grown = 0
        for (pid in parent) if (!(pid in member) && parent[pid] in member) { member[pid]; grown = 1 }
      } while (grown)
      for (pid in member) if (pid in id) print id[pid]
      if (whole) print "."
    }')
  # the last word: the table was whole, and awk has come to its end
  case $found in .) job_known= ;; *"$newline.") job_known=${found%.} ;; *) return 1 ;; esac
}

# signal_job SIGNAL MARK ROOT [SPARED]: to all that job_processes finds but SPARED, remembering them in $job_known;
# fails when nothing is left, not where that could not be found out.
signal_job() {
  job_processes "$2" "$3" || return 0
  [ -n "$job_known" ] || return 1
  for known in $job_known; do
    [ "${known%%.*}" = "${4-}" ] || kill -s "$1" "${known%%.*}" 2>/dev/null
  done
  return 0
}

# kill_job MARK ROOT GRACE TIMED: TERM, at most GRACE seconds, then KILL until nothing is left; fails after
# another ten seconds of that. Who was seen once is remembered: a parent's end hides its children. Where TIMED is not
# empty ROOT is a time(1), which ends by itself, and by TERM before it could say how its child did. Sets $strongest to
# the last signal that was needed.
kill_job() {
  job_known=
  strongest=TERM
  spared=
  [ -z "$4" ] || spared=$2
  signal_job TERM "$1" "$2" "$spared" || return 0
  # a stopped process takes a TERM only once it goes on
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
