# shellcheck shell=sh disable=SC2034,SC2153,SC2154
# Jobs that are with a scheduler: how they stand, how they ended, and ending them. A job's own record comes first; a
# scheduler that does not answer, or does not name a job, has not said that it is over.

# seconds in which a record may still arrive over a network file system; longer where it may be that of a success
SJ_LATE_RECORD=5 SJ_LATER_RECORD=12

# scheduled_standing DIR: sets $standing to what only changes when there may be something new to say of one that is with a
# scheduler; to nothing for any other.
scheduled_standing() {
  standing=
  [ -s "$1/$SJ_LAUNCH" ] && [ ! -e "$1/$SJ_RECORD" ] || return 0
  standing=$SJ_TABLE.$SJ_BACKOFF
  [ ! -s "$1/$SJ_SCHEDULER_ID" ] || standing=$standing.id
  [ ! -s "$1/$SJ_IDENTITY" ] || standing=$standing.identity
}

# scheduled_state DIR: as job_state, of one that has no record. $steady is not empty where it will be the same for a while.
scheduled_state() {
  job_pid='' steady=''
  read_launch "$1" || { job_state=unknown job_reason="no scheduler ${scheduler:-} is known here" && return; }
  scheduled_id='' job_machine='' job_scheduled=''
  if [ -s "$1/$SJ_IDENTITY" ]; then
    # it may be this very machine
    judge_identity "$1" "$1/$SJ_IDENTITY"
    scheduled_id=$job_scheduled
    case $job_state in running | unsupervised | ended) return ;; esac
    job_pid=''
  fi
  [ -n "$scheduled_id" ] || [ ! -s "$1/$SJ_SCHEDULER_ID" ] || read -r scheduled_id <"$1/$SJ_SCHEDULER_ID"
  # of a file that was cut off
  case $scheduled_id in *[!0-9A-Za-z_]*) scheduled_id= ;; esac
  [ -n "$scheduled_id" ] || { unsubmitted_state "$1" && return; }
  SJ_SCHEDULER=$scheduler SJ_WANTED=yes SJ_ANSWERS=${1%/jobs/*}
  eval "first_$scheduled_id=\${first_$scheduled_id:-$SJ_ASKS} row=\${row_$scheduled_id-}"
  eval "first=\$first_$scheduled_id past=\${past_$scheduled_id-}"
  if [ -n "$past" ] && { [ -z "$row" ] || ! "${scheduler}_who" "${row%%\|*}"; }; then row=$past; fi
  silence=${SJ_SILENCE:+"; $scheduler_name does not answer: $SJ_SILENCE"}
  job_reason="$scheduler_name job $scheduled_id"
  steady=yes
  if [ -n "$row" ]; then
    row_state "$1"
  elif [ "$SJ_TABLE" -gt "$first" ]; then
    outcome='lost' why='' nodes=''
    over_state "$1" absent
  elif [ -e "$1/$SJ_STARTED" ]; then
    job_state=elsewhere job_reason="on ${job_machine:-another machine}, $job_reason$silence"
  else
    job_state=queued job_reason=$job_reason$silence
  fi
}

# unsubmitted_state DIR: or one whose number got lost on its way.
unsubmitted_state() {
  [ -e "$1/$SJ_STARTED" ] || { unstarted_state "$1" && return 0; }
  job_state=elsewhere job_reason="it was started on ${job_machine:-another machine}, and no number of its job is known"
}

# row_state DIR: by what the scheduler says of it.
row_state() {
  word=${row%%\|*} begins=${row#*\|}
  nodes=${begins#*\|} begins=${begins%%\|*}
  why=${nodes#*\|} nodes=${nodes%%\|*}
  case $why in None | '(null)') why= ;; esac
  case $begins in N/A | Unknown) begins= ;; esac
  "${scheduler}_kind" "$word"
  if [ "$kind" != over ]; then eval "over_$scheduled_id="; fi
  again=
  for restart in "$1/$SJ_STARTED".*; do [ ! -e "$restart" ] || again=", requeued (${restart##*.})"; done
  case $kind in
    waiting)
      [ ! -e "$1/$SJ_STARTED" ] || again=', requeued'
      job_state=queued job_reason="$job_reason$again${why:+, $why}${begins:+, expected to start $begins}$silence"
      ;;
    running)
      job_state=running
      [ -e "$1/$SJ_STARTED" ] || job_state=queued
      job_reason="$job_reason on $nodes$again$silence"
      [ "$word" = RUNNING ] || job_reason="$job_reason, $word"
      ;;
    leaving)
      job_state=running job_reason="$job_reason is coming to its end on $nodes$silence"
      [ -e "$1/$SJ_STARTED" ] || job_state=queued
      ;;
    over) over_state "$1" "$word" ;;
  esac
}

# over_state DIR WORD: the scheduler says so, or names it no more. The record may still be on its way, and the history
# may know more.
over_state() {
  steady=
  eval "over=\${over_$scheduled_id-}"
  [ -n "$over" ] || {
    seconds_up
    over=$seconds
    eval "over_$scheduled_id=\$seconds"
    if [ -z "$SJ_NO_HISTORY" ] && { [ "$2" = absent ] || ! "${scheduler}_who" "$2"; }; then
      SJ_HISTORY=$SJ_HISTORY${SJ_HISTORY:+,}$scheduled_id
      eval "asked_$scheduled_id=\$((SJ_ASKS + 1))"
    fi
    # a network file system is made to look again
    # shellcheck disable=SC2012
    ls "$1" >/dev/null 2>&1
  }
  seconds_up
  eval "asked=\${asked_$scheduled_id-0}"
  late_record=$SJ_LATE_RECORD
  [ "$outcome" != lost ] || late_record=$SJ_LATER_RECORD
  [ ! -e "$1/$SJ_UNSETTLED" ] || late_record=0
  if [ "$seconds" -lt $((over + late_record)) ] || { [ "$SJ_TABLE" -lt "$asked" ] && [ -z "$SJ_NO_HISTORY" ]; }; then
    job_state=running job_reason="$job_reason: $2; how it ended is being asked for"
    return
  fi
  # shellcheck disable=SC2012
  ls "$1" >/dev/null 2>&1
  job_state=running
  if ended "$1" || privately settle "$1" "$2"; then
    ! ended "$1" || job_state=ended
  fi
}

# settle DIR WORD: writes the record of what has ended without one, in the scheduler's words. One that has not begun
# cannot do so any more.
settle() {
  if [ -e "$1/$SJ_CANCEL" ]; then
    outcome=cancelled word=${2%% *}
    read -r by <"$1/$SJ_CANCEL"
    reason="by $by"
  elif [ "$2" = absent ]; then
    outcome=lost word=
    reason="$scheduler_name does not know its job $scheduled_id any more"
  else
    word=${2%% *}
    reason="$scheduler_name says $2${why:+ ($why)} of its job $scheduled_id${nodes:+ on $nodes}"
  fi
  if [ -e "$1/$SJ_UNSETTLED" ]; then
    settle_record "$1"
    return
  fi
  [ -e "$1/$SJ_STARTED" ] || win_run "$1" || return
  case $outcome in
    cancelled) write_scheduled_end "$1" cancelled 143 '' "$reason" "$word" ;;
    killed) write_scheduled_end "$1" killed 137 KILL "$reason" "$word" ;;
    *) write_scheduled_end "$1" "$outcome" '' '' "$reason" "$word" ;;
  esac
}

# settle_record DIR: the record of a supervisor that was told to end and did not know why.
settle_record() {
  settled=
  while IFS= read -r shown || [ -n "$shown" ]; do
    case $shown in
      'outcome: killed') case $outcome in cancelled | timed_out) shown="outcome: $outcome" ;; esac ;;
      'reason: '*)
        case $word in
          # nothing that the record does not say
          COMPLETED | FAILED) ;;
          *)
            [ "$shown" = 'reason: ' ] || shown="$shown; "
            shown="$shown$reason${newline}scheduler: $word"
            ;;
        esac
        ;;
    esac
    settled=$settled${settled:+"$newline"}$shown
  done <"$1/$SJ_UNSETTLED"
  aside=$1/$SJ_SCRATCH.$SJ_TOKEN
  mkdir -p "$aside" && emit "$settled" >"$aside/$SJ_RECORD" && mv -f "$aside/$SJ_RECORD" "$1/" &&
    true >"$1/$SJ_ENVIRONMENT"
  written=$?
  rm -rf "$aside"
  return "$written"
}

# write_scheduled_end DIR OUTCOME EXIT_CODE SIGNAL REASON WORD: the record, in the supervisor's stead.
write_scheduled_end() {
  aside=$1/$SJ_SCRATCH.$SJ_TOKEN key=${1%/*}
  log_bytes=$(wc -c <"$1/$SJ_LOG")
  mkdir -p "$aside" &&
    emit "$3" >"$aside/$SJ_EXIT_CODE" &&
    emit "job: ${key##*/}/${1##*/}
outcome: $2
exit_code: $3
signal: $4
reason: $5
scheduler: $6
log_bytes: ${log_bytes##* }" >"$aside/$SJ_RECORD" &&
    { [ -z "$3" ] || mv -f "$aside/$SJ_EXIT_CODE" "$1/"; } &&
    mv -f "$aside/$SJ_RECORD" "$1/" &&
    true >"$1/$SJ_ENVIRONMENT"
  written=$?
  rm -rf "$aside"
  return "$written"
}

# cancel_scheduled DIR GRACE BY: what waits never begins; what runs is told to end itself, and ended by the scheduler
# where it has not GRACE seconds later.
cancel_scheduled() {
  read_launch "$1" || return
  emit "$3" >"$1/$SJ_CANCEL"
  [ -e "$1/$SJ_STARTED" ] || cancel_unstarted "$1" "$3"
  # of two, see claim_run, job_state knows the one that runs
  if [ -n "$scheduled_id" ]; then
    :
  elif [ -s "$1/$SJ_SCHEDULER_ID" ]; then
    read -r scheduled_id <"$1/$SJ_SCHEDULER_ID"
  elif [ -s "$1/$SJ_SCHEDULED" ]; then
    SJ_SOUGHT=
    find_scheduled "$1" 2>/dev/null
  fi
  [ -n "$scheduled_id" ] || return 0
  if ended "$1"; then
    tell_scheduler cancel
  elif ! tell_scheduler tell || ! await_record "$1" "$2"; then
    tell_scheduler cancel && await_record "$1" 5
  fi
}

# tell_scheduler VERB: what it says against it becomes $job_reason. Where it takes it, the job can be ended from here.
tell_scheduler() {
  job_reason=$("${scheduler}_$1" "$scheduled_id" 2>&1) && {
    [ "$job_state" != elsewhere ] || job_state=running
    return
  }
  job_reason="$scheduler_name: $job_reason"
  # who asks will ask again
  sleep 2
  return 1
}

# await_record DIR SECONDS: a little longer, as the record may have to come over a network.
await_record() {
  seconds_up
  patience=$((seconds + $2 + 5))
  while [ "$seconds" -le "$patience" ]; do
    ! ended "$1" || return 0
    pause
    seconds_up
  done
  return 1
}
