# shellcheck shell=sh disable=SC2034,SC2154
# The verbs on jobs. Each may be called again after any doubt about whether it was heard. What they answer is in
# parts: anything may print a line besides, the dynamic linker for one.

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

# job_submit BASE KEY LAUNCHER HASH DIGESTS SPEC COMMAND ENVIRONMENT: finds the attempt that has not been
# collected, or claims and launches the next one. Answers a part "claimed N" with the directory, parts "found N"
# with the directory and "digests N", or "uninstalled".
job_submit() {
  base=$1 jobs=$1/jobs/$2 launcher=$3 library=$1/lib/$4
  shift 4
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
    # an empty claim: who made it died before filling it
    [ "$latest" -gt "$damaged" ] && [ ! -e "$dir/$SJ_SPEC" ] || claim_next || return 1
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
  refuse "the job directory cannot be written in $jobs"
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
  "$detach" /bin/sh "$library/supervise.sh" "$1" "$SJ_UMASK" </dev/null >/dev/null 2>>"$1/$SJ_DIAGNOSTICS" &
}

# job_poll [DIR BLOCK]...: for each job its state, its progress, its exit record, and up to 1 MiB of its log from
# that block of 64 KiB on, or nothing of it for "-". The blocks are counted by whoever asks: numbers end at 2 GiB in mksh.
job_poll() {
  job_index=0
  while [ $# -ge 2 ]; do
    poll_job "$1" "$2"
    job_index=$((job_index + 1))
    shift 2
  done
}

# poll_job DIR BLOCK: the state comes first, the log after it: what was read of the log after the record
# was seen is all of it.
poll_job() {
  job_state "$1"
  part state "$job_index" "$job_state"
  case $job_state in
    ended) show "$1/$SJ_RECORD" ;;
    *) emit "$job_reason" ;;
  esac
  if [ -s "$1/$SJ_PROGRESS" ]; then
    part progress "$job_index"
    read -r progress <"$1/$SJ_PROGRESS" || [ -n "$progress" ]
    emit "$progress"
  fi
  if [ "$2" != - ] && [ -s "$1/$SJ_LOG" ]; then
    # whole blocks, as dd can skip no other way by POSIX; the reader drops what it has
    part log "$job_index"
    dd if="$1/$SJ_LOG" bs=65536 skip="$2" count=16 2>/dev/null
  fi
}

# job_state DIR: sets $job_state and $job_reason, with builtins alone while all is well.
job_state() {
  job_reason=
  if [ -e "$1/$SJ_RECORD" ]; then
    job_state=ended
  elif [ -e "$1/$SJ_IDENTITY" ]; then
    supervised_state "$1"
  elif [ -e "$1/$SJ_SPEC" ]; then
    unstarted_state "$1"
  else
    absent_state "$1"
  fi
}

absent_state() {
  if lives "$1"; then
    job_state=unsupervised job_reason="its job directory $1 was deleted, its command still runs"
  elif [ -d "$1" ]; then
    job_state=claimed
  elif [ -d "${1%/*/*}" ]; then
    job_state=lost job_reason="its job directory $1 was deleted"
  else
    job_state=unknown job_reason="the directory ${1%/*/*} is not there at the moment"
  fi
}

unstarted_state() {
  job_state=claimed
  if [ -e "$1/$SJ_STARTED/$SJ_CANCEL" ]; then
    # who cancelled it died before the record was written, or is about to write the same
    cancelled_by=
    read -r cancelled_by <"$1/$SJ_STARTED/$SJ_CANCEL"
    privately cancel_unstarted "$1" "$cancelled_by" && job_state=ended
  elif [ -s "$1/$SJ_DIAGNOSTICS" ]; then
    while read -r diagnostic || [ -n "$diagnostic" ]; do job_reason=$diagnostic; done <"$1/$SJ_DIAGNOSTICS"
  fi
}

# supervised_state DIR: whether the supervisor lives can be told only on the machine it runs on.
supervised_state() {
  {
    read -r _ job_pid
    read -r _ job_start
    read -r _ job_machine
    read -r _ job_boot
  } <"$1/$SJ_IDENTITY"
  if [ "$job_machine" != "$SJ_MACHINE" ]; then
    job_state=elsewhere job_reason="it was started on $job_machine, and this is $SJ_MACHINE"
  elif [ "$job_boot" != "$SJ_BOOT" ]; then
    lost_unless_ended "$1" "the host was restarted while it ran"
  elif process_start "$job_pid" && [ "$start" = "$job_start" ]; then
    job_state=running
  elif lives "$1"; then
    job_state=unsupervised job_reason="its supervisor (process $job_pid) is gone, its command is not"
  else
    lost_unless_ended "$1" "its supervisor (process $job_pid) is gone without an exit record"
  fi
}

# lives DIR: whether there is a process of the job, supervised or not.
lives() { [ -n "$(carriers "SSHJOB_LOG=$1/$SJ_LOG")" ]; }

# lost_unless_ended DIR REASON: the record is read once more, as the job may have ended between two looks.
lost_unless_ended() {
  if [ -e "$1/$SJ_RECORD" ]; then
    job_state=ended
  else
    job_state=lost job_reason=$2
  fi
}

# job_cancel DIR GRACE BY: asks the supervisor to kill the job; does it itself where there is none. Called
# again until the state says that the job has ended.
job_cancel() { privately cancel_job "$@"; }

cancel_job() {
  job_state "$1"
  case $job_state in
    claimed) cancel_unstarted "$1" "$3" ;;
    running)
      emit "$3" >"$1/$SJ_CANCEL"
      kill -s TERM "$job_pid"
      ;;
    unsupervised)
      [ ! -d "$1" ] || emit "$3" >"$1/$SJ_CANCEL"
      kill_job "SSHJOB_LOG=$1/$SJ_LOG" none "$2"
      ;;
  esac
  part cancelling 0 "$job_state"
  emit "$job_reason"
}

# cancel_unstarted DIR BY: wins the run, so that no supervisor can, then writes the record in its stead.
# `started` without an identity was won by one who cancels.
cancel_unstarted() {
  cancelling=$1/.run.$SJ_TOKEN
  mkdir -p "$cancelling/$SJ_STARTED" &&
    emit "$2" >"$cancelling/$SJ_STARTED/$SJ_CANCEL" &&
    { mv "$cancelling/$SJ_STARTED" "$1/" 2>/dev/null || [ ! -e "$1/$SJ_IDENTITY" ]; } &&
    emit 143 >"$cancelling/$SJ_EXIT_CODE" &&
    emit "outcome: cancelled
exit_code: 143
reason: by $2, before it was started
log_bytes: 0" >"$cancelling/$SJ_RECORD" &&
    mv "$cancelling/$SJ_EXIT_CODE" "$cancelling/$SJ_RECORD" "$1/" &&
    rm -f "$1/$SJ_ENVIRONMENT"
  cancel_status=$?
  rm -rf "$cancelling"
  return "$cancel_status"
}

# job_collect DIR BY: somebody has taken the outcome over; the next submit begins a new attempt.
job_collect() {
  [ ! -d "$1" ] || [ -e "$1/$SJ_COLLECTED" ] || privately mark_collected "$1" "$2"
}

mark_collected() {
  # of a lost attempt nobody has removed it
  [ ! -e "$1/$SJ_ENVIRONMENT" ] || rm -f "$1/$SJ_ENVIRONMENT"
  emit "$2" >"$1/$SJ_COLLECTED"
}

# job_remove DIR: what takes space in an attempt that has ended and was collected, nothing else. Its record
# stays, small, for whoever else watches it and so that its number is not used again; and the log where it is what
# a task shows as its output.
job_remove() {
  [ -e "$1/$SJ_COLLECTED" ] && [ -e "$1/$SJ_RECORD" ] || refuse "$1 has not ended or was not collected" || return 1
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  [ "${1%/*}/$SJ_LOG" -ef "$1/$SJ_LOG" ] || rm -f "$1/$SJ_LOG"
  rm -f "$1/$SJ_COMMAND" "$1/$SJ_PROGRESS" "$1/$SJ_DIAGNOSTICS" "$1/$SJ_CANCEL"
}

# job_latest BASE KEY: the directory of the latest attempt, if there is one.
job_latest() {
  latest_attempt "$1/jobs/$2"
  [ "$latest" -gt 0 ] || return 0
  part latest "$latest"
  emit "$1/jobs/$2/$latest"
}

# job_list BASE: every attempt: its state, its directory and the reason of the state.
job_list() {
  job_index=0
  for listed in "$1"/jobs/*/[0-9]*; do
    [ -d "$listed" ] || continue
    job_state "$listed"
    part listed "$job_index" "$job_state"
    emit "$listed"
    part reason "$job_index"
    emit "$job_reason"
    job_index=$((job_index + 1))
  done
}
