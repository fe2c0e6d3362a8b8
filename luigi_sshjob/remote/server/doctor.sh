# shellcheck shell=sh disable=SC2034,SC2154
# What `luigi-sshjob doctor` asks of a host, in a shell of its own that has the agent's functions: facts, each a part of
# the answer. Nothing is changed there but for $doctor_probes, which goes with this shell at the latest.

# whoever has stopped reading must not end this shell before it has tidied up
trap '' PIPE
trap 'exit 129' HUP INT TERM
trap 'doctor_tidy; leave' EXIT
doctor_probes='' doctor_pid='' doctor_start=''

doctor_tidy() {
  [ -z "$doctor_probes" ] || rm -rf "$doctor_probes"
  doctor_end
}

# fact NAME [TEXT]: the first line of it.
fact() { part "$1" 0 "${2%%"$newline"*}"; }

# within SECONDS PROGRAM [ARGUMENT]...: fails with 124 where it takes longer. A sick host's daemons never answer. Without
# /proc who has ended cannot be told from who has not been waited for.
within() {
  within_rounds=${1}0
  shift
  [ -r /proc/self/stat ] || {
    "$@"
    return
  }
  "$@" &
  within_pid=$!
  sleep 0.02 2>/dev/null
  while process_start "$within_pid"; do
    if [ "$within_rounds" -le 0 ]; then
      kill "$within_pid" 2>/dev/null
      wait "$within_pid" 2>/dev/null
      return 124
    fi
    pause
    within_rounds=$((within_rounds - 1))
  done
  wait "$within_pid"
}

# doctor_facts BASE: what there is to know without trying anything for long.
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
}

# doctor_clock: by itself, so that its answer takes no longer than it must.
doctor_clock() { fact clock "$(date +%s)"; }

# doctor_directory BASE: whose it is, who may look into it, and what can be done there; where it is missing, what can be
# done in the directory that it would be made in.
doctor_directory() {
  place=$1
  while [ ! -e "$place" ] && [ ! -h "$place" ]; do
    case $place in */*) place=${place%/*} ;; *) place=. ;; esac
    place=${place:-/}
  done
  fact base "$1"
  fact place "$place"
  if [ "$place" = "$1" ]; then
    listed=$(ls -ldL "$place/." 2>/dev/null)
    fact mode "${listed%% *}"
    if [ -O "$place" ]; then fact own yes; else fact own no; fi
  fi
  if [ ! -d "$place" ]; then
    fact unwritable "$place is no directory"
    return
  fi
  doctor_room "$place"
  doctor_try "$place"
}

# doctor_room DIRECTORY: how much there is, in KiB, and how many files may be made.
doctor_room() {
  # shellcheck disable=SC2046
  set -f && set -- "$1" $(within 10 df -Pk "$1" 2>/dev/null) && set +f
  # behind the directory come seven words of the heading; a file system whose name has a space is not understood
  case ${10-}.${12-} in .* | *. | *[!0-9.]*) ;; *) fact size "${10}" && fact free "${12}" ;; esac
  fact kind "$(stat -f -c %T "$1" 2>/dev/null)"
  # shellcheck disable=SC2046
  set -f && set -- "$1" $(within 10 df -Pi "$1" 2>/dev/null) && set +f
  # some file systems have as many as are wanted, and say 0 of 0
  case ${10-}/${12-} in 0/* | /* | *[!0-9/]* | */) ;; *) fact files "${12}" ;; esac
}

# doctor_try DIRECTORY: writes a mebibyte, as much as a quota or a full disk would not let, and runs a program.
doctor_try() {
  # what a killed doctor has left there goes a day later, as a writer's leftover does
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
    # which shows in what it writes
    fact timer "$timer"
  fi
}

# doctor_elsewhere: directories that could hold base_dir, of those that sites have: with the KiB that are free there.
doctor_elsewhere() {
  set -- "/scratch/$doctor_user" "/data/$doctor_user" "${HOME-}" /var/tmp
  for place in "${SCRATCH-}" "${WORK-}" "$@"; do
    [ -d "$place" ] || continue
    part place 0 "$place"
    doctor_room "$place"
    doctor_try "$place"
  done
}

# doctor_tools: those that some verb needs and that are missing.
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

# doctor_logind: what systemd's login manager does with the processes of who has logged out, if it is there to be asked.
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
  fact spared "$(within 5 busctl get-property $manager KillExcludeUsers 2>/dev/null)"
}

# doctor_slurm: whether it is there and answers.
doctor_slurm() {
  command -v sbatch >/dev/null 2>&1 || return 0
  fact slurm "$(within 10 sbatch --version 2>/dev/null)"
  why=$({ within 15 squeue --me --noheader --format=%i >/dev/null; } 2>&1)
  case $? in
    0) fact answers yes ;;
    124) fact silent "no answer within 15 seconds" ;;
    *) fact silent "${why:-squeue failed}" ;;
  esac
  command -v sacct >/dev/null 2>&1 || fact unaccounted yes
}

# doctor_detach: starts a process as a job's supervisor is started, and says what it is, and the sshd of this connection.
# It ends by itself, should nobody be left to end it.
doctor_detach() {
  detach='nohup'
  ! command -v setsid >/dev/null 2>&1 || detach=setsid
  { exec "$detach" sleep 300; } </dev/null >/dev/null 2>&1 &
  detached=$!
  process_start "$detached" || start=
  part detached 0 "$SJ_MACHINE $detached $start"
  process_start "$PPID" || start=
  part server 0 "$PPID $start"
}

# doctor_adopt PID START: whether that process is here to be watched; it goes with this shell.
doctor_adopt() { lives_on "$1" "$2" && doctor_pid=$1 doctor_start=$2; }

# lives_on PID START: whether it is the same process still.
lives_on() { process_start "$1" && [ "$start" = "$2" ]; }

# doctor_watch SERVER_PID SERVER_START TENTHS: once the connection that the adopted process was started from has ended:
# how it is so many tenths of a second later.
doctor_watch() {
  rounds=50
  while lives_on "$1" "$2"; do
    [ "$rounds" -gt 0 ] || { fact open yes && return; }
    rounds=$((rounds - 1))
    pause
  done
  rounds=$3
  while [ "$rounds" -gt 0 ] && lives_on "$doctor_pid" "$doctor_start"; do
    rounds=$((rounds - 1))
    pause
  done
  if lives_on "$doctor_pid" "$doctor_start"; then fact survived yes; else fact survived no; fi
  doctor_end
}

doctor_end() {
  [ -z "$doctor_pid" ] || ! lives_on "$doctor_pid" "$doctor_start" || kill "$doctor_pid" 2>/dev/null
  doctor_pid=
}
