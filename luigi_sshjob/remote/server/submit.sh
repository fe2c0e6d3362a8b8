# shellcheck shell=sh disable=SC2034,SC2154
# Installing, claiming and launching. Each verb may be called again after any doubt about whether it was heard. What
# they answer is in parts: anything may print a line besides, the dynamic linker for one.

SJ_DETACH='' SJ_NEW_BASES=$newline SJ_COUNTED=''

# install_supervisor BASE HASH [NAME TEXT]...: puts the supervisor's files at BASE/lib/HASH, all or none.
install_supervisor() {
  base=$1 hash=$2
  shift 2
  privately install_files "$@"
}

install_files() {
  own_directory "$base" && own_directory "$base/lib" || return 1
  stage=$base/lib/.stage.$SJ_SELF
  mkdir -p "$stage/$hash" || return 1
  while [ $# -ge 2 ]; do
    emit "$2" >"$stage/$hash/$1" || return 1
    shift 2
  done
  find_timer "$stage/usage"
  emit "$timer" >"$stage/$hash/timer"
  # fails where somebody else was first, which is as good
  mv "$stage/$hash" "$base/lib/" 2>/dev/null
  rm -rf "$stage"
  [ -O "$base/lib/$hash/supervise.sh" ] || refuse scripts-not-installed "the scripts of luigi_sshjob cannot be put in their place: $base/lib"
}

# find_timer FILE: sets $timer to a time(1) that tells peak memory and signals, as those of GNU and busybox do, or to
# nothing. FILE is for its use.
find_timer() {
  for timer in /usr/bin/time /bin/time; do
    [ -x "$timer" ] && "$timer" -f %M -o "$1" true 2>/dev/null && [ -s "$1" ] && return
  done
  timer=
}

# own_directory PATH: makes it where it is missing; refuses one that belongs to somebody else.
own_directory() {
  [ -d "$1" ] || mkdir -p "$1" || return 1
  [ -O "$1" ] || refuse foreign-directory "a directory belongs to another account: $1"
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

# job_submit BASE KEY LAUNCH HASH KNOWN DIGESTS SPEC COMMAND ENVIRONMENT: finds the attempt that has not been
# collected, or claims and launches the next one, unless one behind number KNOWN was collected meanwhile. Answers a part
# "claimed N" or "collected N" with the directory, parts "found N" with the directory and "digests N", or "uninstalled".
# The first line of LAUNCH names the launcher, others are for its own use.
job_submit() {
  base=$1 jobs=$1/jobs/$2 launch=$3 SJ_HASH=$4 library=$1/lib/$4 known_attempt=$5
  shift 5
  # what another account put there is not run, nor is a job's secret given to it
  [ -O "$library/supervise.sh" ] || {
    part uninstalled 0
    return 0
  }
  sweep "$base"
  privately find_or_claim "$@"
}

find_or_claim() {
  own_directory "$base" || return 1
  if [ ! -d "$base/jobs" ]; then
    # an earlier one may have been deleted under its jobs
    own_directory "$base/jobs" || return 1
    SJ_NEW_BASES="$SJ_NEW_BASES$base/jobs$newline"
  fi
  damaged=0
  while :; do
    latest_attempt "$jobs"
    dir=$jobs/$latest
    if [ "$latest" -gt 0 ] && [ -e "$dir/$SJ_SPEC" ] && [ ! -e "$dir/$SJ_COLLECTED" ]; then
      found_attempt "$1"
      return
    fi
    if [ "$latest" -gt "$known_attempt" ] && [ -e "$dir/$SJ_COLLECTED" ]; then
      part collected "$latest"
      emit "$dir"
      return
    fi
    if [ "$latest" -gt 0 ] && [ ! -e "$dir/$SJ_SPEC" ] && [ ! -e "$dir/$SJ_COLLECTED" ]; then
      # somebody has removed part of it, or made it
      nowhere "$dir" || return 1
      [ "$latest" -gt "$damaged" ] || next_number || return 1
    else
      next_number || return 1
    fi
    claim "$@" && return
    [ -e "$jobs/$latest" ] || return 1
    [ -e "$jobs/$latest/$SJ_SPEC" ] || damaged=$latest
  done
}

# next_number: sets $latest to the next one. The highest number used is also noted outside of the directory, to know
# when somebody has deleted that: the job may still run.
next_number() {
  latest=$((latest + 1))
  used=''
  note=$base/jobs/.used.${jobs##*/}
  [ ! -s "$note" ] || read -r used <"$note"
  case $used in *[!0-9]*) used= ;; esac
  if [ -n "$used" ]; then
    # of many one came after the other, so that the first of them have ended
    deleted=$((used - 9))
    [ "$deleted" -ge "$latest" ] || deleted=$latest
    while [ "$deleted" -le "$used" ]; do
      nowhere "$jobs/$deleted" || return 1
      deleted=$((deleted + 1))
    done
  elif is_new "$base/jobs"; then
    # the note may have been deleted too, so any number will do
    ! carried "SSHJOB_LOG=$jobs/" || still_runs "$jobs" || return 1
  fi
  # only an aid: on a full disk the claim will say what is wrong
  emit "$latest" 2>/dev/null >"$note" || true
}

# nowhere DIR: refuses another attempt while something of that one runs, whose directory or part of it was deleted.
nowhere() {
  ! lives "$1" || still_runs "$1" || return 1
  scheduled_nowhere "$1"
}

still_runs() { refuse attempt-still-running "processes of an attempt still run, whose directory was deleted: $1"; }

# is_new DIRECTORY: whether this session has made it.
is_new() { case $SJ_NEW_BASES in *"$newline$1$newline"*) ;; *) return 1 ;; esac }

# claim DIGESTS SPEC COMMAND ENVIRONMENT: the whole job directory is made aside, then renamed into its place. That is
# the claim: renaming onto a directory that is not empty fails (POSIX rename), so one of us wins.
claim() {
  stage=$base/lib/.stage.$SJ_SELF
  if ! write_attempt "$@"; then
    rm -rf "$stage"
    unwritable "$base/jobs"
    refuse directory-not-writable "the job directory cannot be written in $jobs: $why"
    return
  fi
  # with the dot: else it would become $jobs where that was removed since, with the last of its attempts
  if mv "$stage/$latest" "$jobs/." 2>/dev/null || { mkdir "$jobs" 2>/dev/null && mv "$stage/$latest" "$jobs/."; }; then
    launch_job "$jobs/$latest" || return 1
    part claimed "$latest"
    emit "$jobs/$latest"
    return 0
  fi
  rm -rf "$stage"
  [ -e "$jobs/$latest" ] || refuse directory-not-created "the job directory cannot be put in its place: $jobs/$latest"
  return 1
}

# write_attempt DIGESTS SPEC COMMAND ENVIRONMENT: builtins write it, so no secret is ever an argument of a process.
write_attempt() {
  mkdir -p "$jobs" "$stage/$latest/$SJ_SCRATCH" &&
    [ -O "$jobs" ] &&
    emit "$1" >"$stage/$latest/$SJ_DIGESTS" &&
    emit "$2" >"$stage/$latest/$SJ_SPEC" &&
    emit "$3" >"$stage/$latest/$SJ_COMMAND" &&
    emit "$4" >"$stage/$latest/$SJ_ENVIRONMENT" &&
    { [ "$launch" = nohup ] || emit "$launch" >"$stage/$latest/$SJ_LAUNCH"; } &&
    true >"$stage/$latest/$SJ_LOG" &&
    true >"$stage/$latest/$SJ_DIAGNOSTICS"
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

# job_relaunch BASE HASH DIR: for a claim whose supervisor has not shown up. Says so where none could write.
job_relaunch() {
  library=$1/lib/$2 SJ_HASH=$2 SJ_INSIST=yes
  if privately unwritable "$3"; then
    part unwritable 0
    emit "the job directory cannot be written: $3: $why"
  fi
  privately launch_job "$3"
}

# launch_job DIR: by the launcher that its claim named.
launch_job() {
  launcher='nohup'
  [ ! -s "$1/$SJ_LAUNCH" ] || read -r launcher <"$1/$SJ_LAUNCH"
  "launch_$launcher" "$1"
}

# recent_oom_kills: sets $oom_kills to what it was within this second. A count costs dash a read for each of some 2,000
# bytes, too much for each of many jobs.
recent_oom_kills() {
  uptime=
  [ ! -r /proc/uptime ] || read -r uptime _ </proc/uptime
  if [ "${uptime%%.*}" != "$SJ_COUNTED" ] || [ -z "$uptime" ]; then
    oom_kills
    SJ_COUNTED=${uptime%%.*} SJ_OOM_KILLS=$oom_kills
  fi
  oom_kills=$SJ_OOM_KILLS
}

# launch_nohup DIR: a process of its own that outlives this session. All three of its files are redirected:
# sshd keeps a session open while somebody holds one of them.
launch_nohup() {
  [ -n "$SJ_DETACH" ] || {
    SJ_DETACH='nohup'
    ! command -v setsid >/dev/null 2>&1 || SJ_DETACH=setsid
    boot_time
  }
  recent_oom_kills
  {
    LC_ALL=$SJ_LC_ALL
    [ -n "$LC_ALL" ] || unset LC_ALL
    exec "$SJ_DETACH" /bin/sh "$library/supervise.sh" "$1" "$SJ_UMASK" "$boot_time" "$oom_kills"
  } </dev/null >/dev/null 2>>"$1/$SJ_DIAGNOSTICS" &
}
