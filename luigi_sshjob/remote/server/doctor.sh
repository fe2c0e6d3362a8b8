# shellcheck shell=sh disable=SC2034,SC2154
# Facts about a host for `luigi-sshjob doctor`, each a part of the response. Runs in a shell of its own that has loaded
# the server. Changes nothing except $doctor_probes, which is removed when the shell exits.

# a client that stops reading must not end this shell before its cleanup
trap '' PIPE
trap 'doctor_leave; exit 129' HUP INT TERM
trap 'doctor_leave' EXIT
doctor_probes='' doctor_pid='' doctor_start=''

# doctor_leave: may be called twice. The session and its connection end one after the other: the signal of the second must
# not interrupt what the first began.
doctor_leave() {
  trap '' HUP INT TERM
  [ -z "$doctor_probes" ] || rm -rf "$doctor_probes"
  doctor_end
  leave
}

# fact NAME [TEXT]: a part with the first line of TEXT.
fact() { part "$1" 0 "${2%%"$newline"*}"; }

# doctor_facts BASE: the facts that take little time.
doctor_facts() {
  fact shell "${SHELL-}"
  fact home "${HOME-}"
  doctor_user=$(id -un 2>/dev/null)
  fact user "$doctor_user"
  fact system "$(uname -srm 2>/dev/null)"
  fact sh "$(readlink -f /bin/sh 2>/dev/null)"
  doctor_directory "$1"
  doctor_tools
  doctor_logind
  find_limiter
  [ -n "$limiter" ] || ! limits_address_space || limiter='ulimit -v'
  fact limiter "$limiter"
  fact controllers "${cgroup_controllers-}"
}

# doctor_clock: a request of its own, for a short round trip.
doctor_clock() { fact clock "$(date +%s)"; }

# doctor_directory BASE: its owner, mode and file system; if it does not exist, those of the nearest existing parent.
doctor_directory() {
  place=$1
  while [ ! -e "$place" ] && [ ! -h "$place" ]; do
    case $place in */*) place=${place%/*} ;; *) place=. ;; esac
    place=${place:-/}
  done
  fact base "$1"
  fact place "$place"
  is_private "$1" || { part danger 0 "$danger_code" && emit "$danger"; }
  doctor_parents "$1"
  if [ "$place" = "$1" ]; then
    listed=$(ls -ldL "$place/." 2>/dev/null)
    fact mode "${listed%% *}"
    if [ -O "$place" ]; then fact own yes; else fact own no; fi
  fi
  if [ ! -d "$place" ]; then
    fact unwritable "$place is not a directory"
    return
  fi
  doctor_room "$place"
  doctor_try "$place"
}

# doctor_parents PATH: facts about the directories above it in which others can rename what is below: those that belong to
# another account than root, and those that others can write, unless they are sticky. Also about the directories above
# the physical path, to which a link may lead.
doctor_parents() {
  above=$1 physical=$(cd -P -- "$place" 2>/dev/null && pwd)
  [ "$place" != "$1" ] || physical=${physical%/*}
  set --
  while [ "$above" != "${above%/*}" ]; do
    above=${above%/*}
    [ ! -d "$above/" ] || set -- "$@" "$above/."
  done
  above=$physical/x
  while [ "$above" != "${above%/*}" ]; do
    above=${above%/*}
    set -- "$@" "$above/."
  done
  find "$@" -prune ! -user 0 ! -user "$(id -u)" -print 2>/dev/null | doctor_list foreign_parent
  find "$@" -prune \( -perm -020 -o -perm -002 \) ! -perm -1000 -print 2>/dev/null | doctor_list writable_parent
}

# doctor_list NAME: a fact for each path, without the dot at its end.
doctor_list() {
  while IFS= read -r above; do
    above=${above%/.}
    fact "$1" "${above:-/}"
  done
}

# doctor_room DIRECTORY: size and free space in KiB, file system, and free inodes.
doctor_room() {
  # shellcheck disable=SC2046
  set -f && set -- "$1" $(within 10 df -Pk "$1" 2>/dev/null) && set +f
  # after the directory and the seven words of the heading; a file system with a space in its name is not parsed
  case ${10-}.${12-} in .* | *. | *[!0-9.]*) ;; *) fact size "${10}" && fact free "${12}" ;; esac
  fact kind "$(stat -f -c %T "$1" 2>/dev/null)"
  # shellcheck disable=SC2046
  set -f && set -- "$1" $(within 10 df -Pi "$1" 2>/dev/null) && set +f
  # file systems without a limit report 0 of 0
  case ${10-}/${12-} in 0/* | /* | *[!0-9/]* | */) ;; *) fact files "${12}" ;; esac
}

# doctor_try DIRECTORY: writes a mebibyte, to notice a quota or a full disk, and runs a program.
doctor_try() {
  # files of a killed doctor are removed a day later, as temporary files are
  sweep_directory "$1"
  doctor_probes=$1/.sshjob-tmp.$SJ_SELF
  why=$({ umask 077 && mkdir "$doctor_probes"; } 2>&1) || {
    doctor_probes=
    fact unwritable "${why##*: }"
    return
  }
  why=$({ dd if=/dev/zero bs=65536 count=16 2>/dev/null || emit x; } 2>&1 | { cat >"$doctor_probes/fill"; } 2>&1)
  runs=unknown
  if emit "#!/bin/sh$newline:" 2>/dev/null >"$doctor_probes/run" && chmod 700 "$doctor_probes/run"; then
    "$doctor_probes/run" >/dev/null 2>&1
    case $? in 0) runs=yes ;; 126) runs=no ;; esac
  fi
  find_timer "$doctor_probes/usage"
  rm -rf "$doctor_probes"
  doctor_probes=
  fact runs "$runs"
  if [ -n "$why" ]; then
    fact unwritable "${why##*: }"
  else
    fact writable yes
    # it can only be tested where it can write
    fact timer "$timer"
  fi
}

# doctor_elsewhere: directories that sites often have and that could hold base_dir, with their facts.
doctor_elsewhere() {
  set -- "/scratch/$doctor_user" "/data/$doctor_user" "${HOME-}" /var/tmp
  for place in "${SCRATCH-}" "${WORK-}" "$@"; do
    [ -d "$place" ] || continue
    part place 0 "$place"
    doctor_room "$place"
    doctor_try "$place"
  done
}

# doctor_tools: required programs that are missing.
doctor_tools() {
  for tool in awk cat chmod cp date dd dirname find grep kill ls mkdir mv nohup rm setsid sleep stat tail tar touch wc; do
    command -v "$tool" >/dev/null 2>&1 || fact missing "$tool"
  done
  command -v sha256sum >/dev/null 2>&1 || command -v shasum >/dev/null 2>&1 || command -v openssl >/dev/null 2>&1 ||
    command -v sha256 >/dev/null 2>&1 || fact missing sha256sum
  [ ! -r /proc/self/stat ] || ! command -v grep >/dev/null 2>&1 || grep -qzsF PATH= /proc/$$/environ ||
    ! { grep -qsF PATH= /proc/$$/environ; } || fact missing "grep -z"
  [ -r /proc/self/stat ] || fact missing /proc
}

# doctor_logind: whether systemd's login manager kills the processes of an account that logs out.
doctor_logind() {
  [ ! -r /proc/self/cgroup ] || while read -r group; do
    case $group in *session-*.scope*) fact scope "${group##*/}" ;; esac
  done </proc/self/cgroup
  if [ -e "/var/lib/systemd/linger/$doctor_user" ]; then fact linger yes; else fact linger no; fi
  [ -d /run/systemd/system ] && command -v busctl >/dev/null 2>&1 || return 0
  manager='org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager'
  # shellcheck disable=SC2086
  fact kills "$(within 5 busctl get-property $manager KillUserProcesses 2>/dev/null)"
  # shellcheck disable=SC2086
  fact idle "$(within 5 busctl get-property $manager StopIdleSessionUSec 2>/dev/null)"
  # shellcheck disable=SC2086
  fact spared "$(within 5 busctl get-property $manager KillExcludeUsers 2>/dev/null)"
}

# doctor_slurm: whether Slurm is installed and responds.
doctor_slurm() {
  command -v sbatch >/dev/null 2>&1 || return 0
  fact slurm "$(within 10 sbatch --version 2>/dev/null)"
  why=$({ within 15 squeue --me --noheader --format=%i >/dev/null; } 2>&1)
  case $? in
    0) fact answers yes ;;
    124) fact silent "no response within 15 seconds" ;;
    *) fact silent "${why:-squeue failed}" ;;
  esac
  command -v sacct >/dev/null 2>&1 || fact unaccounted yes
}

# doctor_detach: starts a process in the way of a supervisor; identifies it and the sshd of this connection. It ends
# with this shell unless that has released it, and after 300 seconds at the latest.
doctor_detach() {
  detach='nohup'
  ! command -v setsid >/dev/null 2>&1 || detach=setsid
  { exec "$detach" sleep 300; } </dev/null >/dev/null 2>&1 &
  detached=$!
  process_start "$detached" || start=
  doctor_pid=$detached doctor_start=$start
  part detached 0 "$machine $detached $start"
  process_start "$PPID" || start=
  part server 0 "$PPID $start"
}

# doctor_adopt PID START: fails if that process is not visible here; it will be ended with this shell.
doctor_adopt() { is_alive "$1" "$2" && doctor_pid=$1 doctor_start=$2; }

# doctor_release: leaves it to the shell that has adopted it.
doctor_release() { doctor_pid=; }

# is_alive PID START: whether the same process still runs.
is_alive() { process_start "$1" && [ "$start" = "$2" ]; }

# doctor_watch SERVER_PID SERVER_START TENTHS: whether the adopted process is alive that many tenths of a second after
# the connection that started it has ended.
doctor_watch() {
  rounds=50
  while is_alive "$1" "$2"; do
    [ "$rounds" -gt 0 ] || { fact open yes && return; }
    rounds=$((rounds - 1))
    pause
  done
  rounds=$3
  while [ "$rounds" -gt 0 ] && is_alive "$doctor_pid" "$doctor_start"; do
    rounds=$((rounds - 1))
    pause
  done
  if is_alive "$doctor_pid" "$doctor_start"; then fact survived yes; else fact survived no; fi
  doctor_end
}

# with KILL: a child that was forked just now would lose another signal
doctor_end() {
  [ -z "$doctor_pid" ] || ! is_alive "$doctor_pid" "$doctor_start" || kill -s KILL "$doctor_pid" 2>/dev/null
  doctor_pid=
}
