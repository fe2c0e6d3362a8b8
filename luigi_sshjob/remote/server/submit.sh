# shellcheck shell=sh disable=SC2034,SC2154
# Installs the supervisor, claims attempts and launches them. All verbs are idempotent, and respond in parts, because
# anything may print a line in between, for example the dynamic linker.

SJ_DETACH='' SJ_NEW_BASES=$newline SJ_COUNTED=''

# install_supervisor BASE HASH [NAME TEXT]...: installs the supervisor's files at BASE/lib/HASH, all or none.
install_supervisor() { privately install_files "$@"; }

install_files() {
  base=$1 hash=$2
  shift 2
  own_directory "$base" && own_directory "$base/lib" || return 1
  stage=$base/lib/.stage.$SJ_SELF
  mkdir -p "$stage/$hash" || return 1
  while [ $# -ge 2 ]; do
    emit "$2" >"$stage/$hash/$1" || return 1
    shift 2
  done
  find_timer "$stage/usage"
  emit "$timer" >"$stage/$hash/timer"
  # fails if another client was faster, which is fine
  mv "$stage/$hash" "$base/lib/" 2>/dev/null
  rm -rf "$stage"
  [ -O "$base/lib/$hash/supervise.sh" ] ||
    refuse scripts-not-installed "cannot install the scripts of luigi_sshjob: $base/lib"
}

# find_timer FILE: sets $timer to a time(1) that reports peak memory and signals (GNU, busybox), or to nothing. It
# writes to FILE.
find_timer() {
  for timer in /usr/bin/time /bin/time; do
    [ -x "$timer" ] && "$timer" -f %M -o "$1" true 2>/dev/null && [ -s "$1" ] && return
  done
  timer=
}

# own_directory PATH: creates it if it does not exist; refuses one of another account.
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

# job_submit BASE KEY LAUNCH HASH KNOWN DIGESTS SPEC COMMAND ENVIRONMENT: finds the attempt that was not collected, or
# claims and launches the next one, unless an attempt after number KNOWN was collected meanwhile. Responds with a part
# "claimed N" or "collected N" with the directory, or with "found N" with the directory and "digests N", or with
# "uninstalled". The first line of LAUNCH names the launcher, the others are for the launcher.
job_submit() {
  base=$1 jobs=$1/jobs/$2 launch=$3 SJ_HASH=$4 library=$1/lib/$4 known_attempt=$5
  shift 5
  # scripts of another account are not run, and get no secrets
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
    # a previous one may have been deleted while jobs ran
    own_directory "$base/jobs" || return 1
    SJ_NEW_BASES="$SJ_NEW_BASES$base/jobs$newline"
  fi
  damaged=0
  while :; do
    latest_attempt "$jobs"
    dir=$jobs/$latest
    # Each is looked at once, because another worker may collect the attempt at any moment. The spec comes first: it is
    # removed only after the mark was made.
    has_spec='' has_mark=''
    [ ! -e "$dir/$SJ_SPEC" ] || has_spec=yes
    [ ! -e "$dir/$SJ_COLLECTED" ] || has_mark=yes
    if [ -n "$has_mark" ] && [ "$latest" -gt "$known_attempt" ]; then
      part collected "$latest"
      emit "$dir"
      return
    elif [ -n "$has_mark" ] || [ "$latest" -eq 0 ]; then
      next_number || return 1
    elif [ -n "$has_spec" ]; then
      found_attempt "$1"
      return
    else
      # part of it was deleted, or it was not created by this package
      assert_not_running "$dir" || return 1
      [ "$latest" -gt "$damaged" ] || next_number || return 1
    fi
    claim "$@" && return
    [ -e "$jobs/$latest" ] || return 1
    [ -e "$jobs/$latest/$SJ_SPEC" ] || damaged=$latest
  done
}

# next_number: sets $latest to the next number. The highest one is also noted outside of the task's directory, in case
# that is deleted while the job runs.
next_number() {
  latest=$((latest + 1))
  used=''
  note=$base/jobs/.used.${jobs##*/}
  [ ! -s "$note" ] || read -r used <"$note"
  case $used in *[!0-9]*) used= ;; esac
  if [ -n "$used" ]; then
    # attempts follow each other, so all but the last few have ended
    deleted=$((used - 9))
    [ "$deleted" -ge "$latest" ] || deleted=$latest
    while [ "$deleted" -le "$used" ]; do
      assert_not_running "$jobs/$deleted" || return 1
      deleted=$((deleted + 1))
    done
  elif is_new "$base/jobs"; then
    # the note may have been deleted, too: check all numbers
    ! marker_in_use "SSHJOB_LOG=$jobs/" || refuse_running "$jobs" || return 1
  fi
  # not essential: on a full disk the claim reports the error
  emit "$latest" 2>/dev/null >"$note" || true
}

# assert_not_running DIR: refuses another attempt while processes of that one run, whose directory was deleted or
# damaged.
assert_not_running() {
  ! may_run "$1" || refuse_running "$1" || return 1
  assert_not_scheduled "$1"
}

refuse_running() { refuse attempt-still-running "an attempt whose directory was deleted is still running: $1"; }

# is_new DIRECTORY: whether this session has created it.
is_new() { case $SJ_NEW_BASES in *"$newline$1$newline"*) ;; *) return 1 ;; esac }

# claim DIGESTS SPEC COMMAND ENVIRONMENT: creates the whole job directory elsewhere, then renames it. The rename is the
# claim: renaming onto a directory that is not empty fails (POSIX rename), so only one client succeeds.
claim() {
  stage=$base/lib/.stage.$SJ_SELF
  if ! write_attempt "$@"; then
    rm -rf "$stage"
    unwritable "$base/jobs"
    refuse directory-not-writable "cannot create a job directory in $jobs: $why"
    return
  fi
  # with the dot: if $jobs was removed meanwhile, the directory would be renamed to $jobs
  if mv "$stage/$latest" "$jobs/." 2>/dev/null || { mkdir "$jobs" 2>/dev/null && mv "$stage/$latest" "$jobs/."; }; then
    launch_job "$jobs/$latest" || return 1
    part claimed "$latest"
    emit "$jobs/$latest"
    return 0
  fi
  rm -rf "$stage"
  [ -e "$jobs/$latest" ] || refuse directory-not-created "cannot move the job directory to its path: $jobs/$latest"
  return 1
}

# write_attempt DIGESTS SPEC COMMAND ENVIRONMENT: with builtins, so that no secret is an argument of a process.
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

# found_attempt DIGESTS: launches the existing attempt again if no supervisor has claimed the run.
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

# job_relaunch BASE HASH DIR: launches a claimed attempt again whose supervisor has not started. Responds with a part
# "unwritable" if no supervisor could.
job_relaunch() {
  library=$1/lib/$2 SJ_HASH=$2 SJ_INSIST=yes
  if privately unwritable "$3"; then
    part unwritable 0
    emit "the job directory is not writable: $3: $why"
  fi
  privately launch_job "$3"
}

# launch_job DIR: with the launcher of its claim.
launch_job() {
  launcher='nohup'
  [ ! -s "$1/$SJ_LAUNCH" ] || read -r launcher <"$1/$SJ_LAUNCH"
  "launch_$launcher" "$1"
}

# recent_oom_kills: as oom_kills, at most a second old. In dash each count needs about 2,000 reads of a byte, too many
# for each of many jobs.
recent_oom_kills() {
  uptime=
  [ ! -r /proc/uptime ] || read -r uptime _ </proc/uptime
  if [ "${uptime%%.*}" != "$SJ_COUNTED" ] || [ -z "$uptime" ]; then
    oom_kills
    SJ_COUNTED=${uptime%%.*} SJ_OOM_KILLS=$oom_kills
  fi
  oom_kills=$SJ_OOM_KILLS
}

# launch_nohup DIR: starts the supervisor so that it outlives this session. All three of its files are redirected,
# because sshd keeps a session open while a process has one of them.
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
    SSHJOB_BOOT_TIME=$boot_time SSHJOB_OOM_KILLS=$oom_kills
    export SSHJOB_BOOT_TIME SSHJOB_OOM_KILLS
    exec "$SJ_DETACH" /bin/sh "$library/supervise.sh" "$1" "$SJ_UMASK"
  } </dev/null >/dev/null 2>>"$1/$SJ_DIAGNOSTICS" &
}
