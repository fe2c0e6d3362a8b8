# shellcheck shell=sh disable=SC2034,SC2154
# States of submitted jobs. All verbs are idempotent, and respond in parts.

# job_status DIR BLOCK: the job's state, progress and exit record, and up to 1 MiB of its log from that block of 1 KiB
# on, or no log for "-". The client counts the blocks, because numbers end at 2 GiB in mksh.
job_status() {
  job_index=0
  measure "$1"
  job_state "$1"
  write_status "$1" "$2"
}

# write_status DIR BLOCK: the state first: a log that is read after the exit record was seen is complete.
write_status() {
  part state "$job_index" "$job_state"
  case $job_state in
    ended) read_record "$job_record" && emit "$record" ;;
    *) emit "$job_reason" ;;
  esac
  [ "$job_state$job_dead" != lostyes ] || part dead "$job_index"
  [ "$job_state" != scheduled ] || write_submission "$1"
  ! seconds_since "$job_began" || part seconds "$job_index" "$passed"
  if [ -s "$1/$SJ_PROGRESS" ]; then
    part progress "$job_index"
    # written by the job
    progress=$(dd if="$1/$SJ_PROGRESS" bs=4096 count=1 2>/dev/null)
    emit "${progress%%"$newline"*}"
  fi
  if [ "$2" != - ] && [ -s "$1/$SJ_LOG" ]; then
    # whole blocks, because POSIX dd can skip nothing else; the client drops the bytes that it has
    part log "$job_index"
    dd if="$1/$SJ_LOG" bs=1024 skip="$2" count=1024 2>/dev/null
  fi
}

# read_record FILE: sets $record to its lines up to a blank one: what follows was reserved for the record and not needed.
read_record() {
  record=
  bounded "$1"
  while IFS= read -r shown && [ -n "$shown" ]; do record=$record${record:+"$newline"}$shown; done <"$bounded"
  return 0
}

# job_tail DIR BYTES LINES: the last lines of the log, within its last bytes.
job_tail() {
  [ -e "$1/$SJ_LOG" ] || refuse no-log "the job directory has no log any more: $1" || return
  part tail 0
  tail -c "$2" "$1/$SJ_LOG" | tail -n "$3"
}

# job_state DIR: sets $job_state and $job_reason, with builtins only in the common cases. Sets $job_began to the start
# of the supervisor if it runs on this machine, see process_start; and $job_dead if a lost job is dead for certain, and was
# not cancelled.
job_state() {
  job_reason='' job_began='' job_command='' command_root=none job_dead=''
  if ! is_trusted "$1"; then
    job_state=unknown job_reason=$danger
  elif ended "$1"; then
    job_state=ended
  elif [ -s "$1/$SJ_LAUNCH" ]; then
    scheduled_state "$1"
  elif [ -s "$1/$SJ_IDENTITY" ]; then
    identity_state "$1" "$1/$SJ_IDENTITY"
  elif [ -e "$1/$SJ_STARTED" ] || was_started "$1"; then
    unidentified_state "$1"
  elif [ -e "$1/$SJ_SPEC" ]; then
    unstarted_state "$1"
  else
    absent_state "$1"
  fi
}

# ended DIR: whether the job has ended; sets $job_record to the file with its exit record. That is the collected mark
# after a cleanup has removed the rest. A power cut may leave an exit record empty.
ended() {
  job_record=$1/$SJ_RECORD
  [ -s "$job_record" ] && [ -f "$job_record" ] && return
  job_record=$1/$SJ_COLLECTED
  [ -e "$job_record" ] && [ ! -e "$1/$SJ_SPEC" ]
}

absent_state() {
  if ! is_absent "$1/$SJ_SPEC" && [ -n "$unsearchable" ]; then
    job_state=unknown job_reason="no permission to search the directory $unsearchable"
  elif process_state "$1"; then
    :
  elif [ -d "$1" ]; then
    job_state=claimed
  elif [ -d "${1%/*/*}" ]; then
    job_state=lost job_reason="the job directory $1 was deleted"
  else
    job_state=unknown job_reason="the directory ${1%/*/*} is not available at the moment"
  fi
}

unstarted_state() {
  job_state=claimed
  if [ -s "$1/$SJ_DIAGNOSTICS" ]; then
    bounded "$1/$SJ_DIAGNOSTICS"
    while read -r diagnostic || [ -n "$diagnostic" ]; do job_reason=$diagnostic; done <"$bounded"
  fi
}

# unidentified_state DIR: of an attempt whose run was claimed. The supervisor that claimed it has not published its
# identity yet, or never will: then it is one of the candidates.
unidentified_state() {
  job_state=elsewhere job_reason="its file $SJ_IDENTITY is missing, and none of its processes is on this machine"
  for candidate in "$1/$SJ_IDENTITY".*; do
    [ -s "$candidate" ] || continue
    identity_state "$1" "$candidate"
    [ "$job_state" = lost ] || return 0
  done
  ! process_state "$1" || return 0
  if [ -s "$1/$SJ_STARTED" ]; then
    # claimed by a client that cancelled it, and has died before it wrote the record or is about to write the same
    cancelled_by=
    bounded "$1/$SJ_CANCEL"
    [ ! -e "$1/$SJ_CANCEL" ] || read -r cancelled_by <"$bounded"
    privately record_cancelled "$1" "$cancelled_by"
  fi
  ! ended "$1" || job_state=ended
}

# explain_loss DIR: adds to $job_reason what this machine knows about the end.
explain_loss() {
  oom_kills
  [ "$oom_kills" = "$job_oom_kills" ] ||
    job_reason="$job_reason; since it started the kernel killed processes for lack of memory on this machine"
  explain_directory "$1"
}

# explain_directory DIR: adds to $job_reason that no file can be written there, for example on a full disk.
explain_directory() {
  ! privately unwritable "$1" || job_reason="${job_reason:+$job_reason; }the job directory $1 is not writable: $why"
}

# lost_unless_ended DIR REASON: reads the record once more, because the job may have ended meanwhile.
lost_unless_ended() {
  if ended "$1"; then
    job_state=ended
  else
    job_state=lost job_reason=$2
    [ -e "$1/$SJ_CANCEL" ] || job_dead=yes
  fi
}

# job_published TASK [OTHER]...: whether record and log of a success are next to the attempts of the task, see
# publish_record; fails with 2 if that cannot be determined. Responds with a part for each other task that has them.
job_published() {
  asked=$1 published_index=0
  shift
  for other; do
    ! is_published "$other" || part published "$published_index"
    published_index=$((published_index + 1))
  done
  is_published "$asked" || absent_status "$asked/$SJ_RECORD"
}

is_published() { [ -e "$1/$SJ_RECORD" ] && [ -e "$1/$SJ_LOG" ]; }

# job_find BASE KEY [ATTEMPT [LISTED]]: the directory of that attempt, or else of the latest one, or if LISTED is not empty
# of the latest one that no person has forgotten, if it exists or still runs.
job_find() {
  latest=$3
  [ -n "$3" ] || latest_attempt "$1/jobs/$2" "${4:+$SJ_FORGOTTEN}"
  [ "$latest" -gt 0 ] || return 0
  [ -d "$1/jobs/$2/$latest" ] || attempt_lives "$1/jobs/$2/$latest" || return 0
  part found "$latest"
  emit "$1/jobs/$2/$latest"
}
