# shellcheck shell=sh disable=SC2034,SC2154
# Installing, claiming and launching. Each verb may be called again after any doubt about whether it was heard. What
# they answer is in parts: anything may print a line besides, the dynamic linker for one.

# install_supervisor BASE HASH [NAME TEXT]...: puts the supervisor's files at BASE/lib/HASH, all or none.
install_supervisor() {
  base=$1 hash=$2
  shift 2
  privately install_files "$@"
}

install_files() {
  own_directory "$base" && own_directory "$base/lib" || return 1
  stage=$base/lib/.stage.$SJ_TOKEN
  mkdir -p "$stage/$hash" || return 1
  while [ $# -ge 2 ]; do
    emit "$2" >"$stage/$hash/$1" || return 1
    shift 2
  done
  # fails where somebody else was first, which is as good
  mv "$stage/$hash" "$base/lib/" 2>/dev/null
  rm -rf "$stage"
  [ -O "$base/lib/$hash/supervise.sh" ] || refuse "the scripts did not arrive in $base/lib"
}

# own_directory PATH: makes it where it is missing; refuses one that belongs to somebody else.
own_directory() {
  [ -d "$1" ] || mkdir -p "$1" || return 1
  [ -O "$1" ] || refuse "$1 belongs to another account"
}

# latest_attempt JOBS: sets $latest to the highest number there, or 0.
latest_attempt() {
  latest=0
  for found in "$1"/[0-9]*; do
    found=${found##*/}
    case $found in *[!0-9]*) continue ;; esac
    [ "$found" -le "$latest" ] || latest=$found
  done
}

# job_submit BASE KEY LAUNCHER HASH KNOWN DIGESTS SPEC COMMAND ENVIRONMENT: finds the attempt that has not been
# collected, or claims and launches the next one, unless one behind number KNOWN was collected meanwhile. Answers a part
# "claimed N" or "collected N" with the directory, parts "found N" with the directory and "digests N", or "uninstalled".
job_submit() {
  base=$1 jobs=$1/jobs/$2 launcher=$3 library=$1/lib/$4 known_attempt=$5
  shift 5
  # what another account put there is not run, nor is a job's secret given to it
  [ -O "$library/supervise.sh" ] || {
    part uninstalled 0
    return 0
  }
  privately find_or_claim "$@"
}

find_or_claim() {
  own_directory "$base" && own_directory "$jobs" || return 1
  stage=$jobs/.stage.$SJ_TOKEN
  damaged=0
  while :; do
    latest_attempt "$jobs"
    dir=$jobs/$latest
    if [ "$latest" -gt 0 ] && [ -e "$dir/$SJ_SPEC" ] && [ ! -e "$dir/$SJ_COLLECTED" ]; then
      rm -rf "$stage"
      found_attempt "$1"
      return
    fi
    if [ "$latest" -gt "$known_attempt" ] && [ -e "$dir/$SJ_COLLECTED" ]; then
      rm -rf "$stage"
      part collected "$latest"
      emit "$dir"
      return
    fi
    # an empty claim: who made it died before filling it
    [ "$latest" -gt "$damaged" ] && [ ! -e "$dir/$SJ_SPEC" ] && [ ! -e "$dir/$SJ_COLLECTED" ] ||
      claim_next || return 1
    [ -e "$stage/$latest/$SJ_SPEC" ] || stage_attempt "$@" || return 1
    # renaming onto a directory that is not empty fails (POSIX rename): one of us fills the claim
    if mv "$stage/$latest" "$jobs/" 2>/dev/null; then
      rm -rf "$stage"
      launch_job "$jobs/$latest" || return 1
      part claimed "$latest"
      emit "$jobs/$latest"
      return 0
    fi
    # neither filled nor empty: somebody has removed part of it
    [ -e "$jobs/$latest/$SJ_SPEC" ] || damaged=$latest
  done
}

# claim_next: sets $latest to the attempt that is ours or another's to fill.
claim_next() {
  latest=$((latest + 1))
  # its number was used before, and somebody has deleted its directory under it
  ! lives "$jobs/$latest" || refuse "processes of an attempt $latest still run, whose directory was deleted" || return 1
  mkdir "$jobs/$latest" 2>/dev/null || [ -d "$jobs/$latest" ] || mkdir "$jobs/$latest"
}

# stage_attempt DIGESTS SPEC COMMAND ENVIRONMENT: the whole job directory, aside. Builtins write it, so
# no secret is ever an argument of a process.
stage_attempt() {
  mkdir -p "$stage/$latest" &&
    emit "$1" >"$stage/$latest/$SJ_DIGESTS" &&
    emit "$2" >"$stage/$latest/$SJ_SPEC" &&
    emit "$3" >"$stage/$latest/$SJ_COMMAND" &&
    emit "$4" >"$stage/$latest/$SJ_ENVIRONMENT" &&
    true >"$stage/$latest/$SJ_LOG" && return 0
  rm -rf "$stage"
  unwritable "$jobs"
  refuse "the job directory cannot be written in $jobs: $why"
}

# found_attempt DIGESTS: the attempt is there; its launch is repeated where nobody has won the run yet.
found_attempt() {
  read -r found_digests <"$dir/$SJ_DIGESTS"
  if [ ! -e "$dir/$SJ_STARTED" ] && [ "$found_digests" = "$1" ]; then
    launch_job "$dir" || return 1
  fi
  part found "$latest"
  emit "$dir"
  part digests "$latest"
  emit "$found_digests"
}

# job_relaunch BASE HASH LAUNCHER DIR: for a claim whose supervisor has not shown up.
job_relaunch() {
  library=$1/lib/$2 launcher=$3
  privately launch_job "$4"
}

launch_job() { "launch_$launcher" "$1"; }

# launch_nohup DIR: a process of its own that outlives this session. All three of its files are redirected:
# sshd keeps a session open while somebody holds one of them.
launch_nohup() {
  detach='nohup'
  ! command -v setsid >/dev/null 2>&1 || detach=setsid
  {
    LC_ALL=$SJ_LC_ALL
    [ -n "$LC_ALL" ] || unset LC_ALL
    exec "$detach" /bin/sh "$library/supervise.sh" "$1" "$SJ_UMASK"
  } </dev/null >/dev/null 2>>"$1/$SJ_DIAGNOSTICS" &
}
