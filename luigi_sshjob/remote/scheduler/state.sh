# shellcheck shell=sh disable=SC2034,SC2153,SC2154
# States of a scheduler's jobs, and cancelling them. The job's own record has precedence. If the scheduler does not
# respond, or does not list a job, that does not mean that the job has ended.

# seconds in which a record may still arrive through a network file system; the second is for jobs that may have
# succeeded
SJ_LATE_RECORD=5 SJ_LATER_RECORD=12

# scheduled_version DIR: sets $version to a text that changes if the state of a scheduler's job may have changed; to
# nothing for any other job.
scheduled_version() {
  version=
  [ -s "$1/$SJ_LAUNCH" ] && [ ! -e "$1/$SJ_RECORD" ] || return 0
  version=$SJ_LISTING.$SJ_BACKOFF
  [ ! -s "$1/$SJ_SCHEDULER_ID" ] || version=$version.id
  [ ! -s "$1/$SJ_IDENTITY" ] || version=$version.identity
}

# scheduled_state DIR: as job_state, for a job without a record. Sets $cacheable if the state depends on the version
# only.
scheduled_state() {
  job_pid='' cacheable=''
  read_launch "$1" || {
    job_state=unknown job_reason="this version does not support the scheduler ${scheduler:-}"
    return
  }
  scheduled_id='' job_machine='' job_scheduled=''
  if [ -s "$1/$SJ_IDENTITY" ]; then
    # it may run on this machine
    identity_state "$1" "$1/$SJ_IDENTITY"
    scheduled_id=$job_scheduled
    case $job_state in running | unsupervised | ended) return ;; esac
    job_pid=''
  fi
  [ -n "$scheduled_id" ] || [ ! -s "$1/$SJ_SCHEDULER_ID" ] || read -r scheduled_id <"$1/$SJ_SCHEDULER_ID"
  # of a truncated file
  case $scheduled_id in *[!0-9A-Za-z_]*) scheduled_id= ;; esac
  [ -n "$scheduled_id" ] || { unsubmitted_state "$1" && return; }
  SJ_SCHEDULER=$scheduler SJ_WANTED=yes SJ_QUERY_BASE=${1%/jobs/*}
  eval "first_$scheduled_id=\${first_$scheduled_id:-$SJ_QUERIES} row=\${row_$scheduled_id-}"
  eval "first=\$first_$scheduled_id past=\${past_$scheduled_id-}"
  if [ -n "$past" ] && { [ -z "$row" ] || ! "${scheduler}_is_final" "${row%%\|*}"; }; then row=$past; fi
  query_error=${SJ_QUERY_ERROR:+"; $scheduler_name does not respond: $SJ_QUERY_ERROR"}
  job_reason="$scheduler_name job $scheduled_id"
  cacheable=yes
  if [ -n "$row" ]; then
    row_state "$1"
  elif [ "$SJ_LISTING" -gt "$first" ]; then
    outcome='lost' why='' nodes=''
    ended_state "$1" absent
  elif [ -e "$1/$SJ_STARTED" ]; then
    job_state=elsewhere job_reason="on ${job_machine:-another machine}, $job_reason$query_error"
  else
    job_state=queued job_reason=$job_reason$query_error
  fi
}

# unsubmitted_state DIR: of a job without an id of the scheduler.
unsubmitted_state() {
  [ -e "$1/$SJ_STARTED" ] || { unstarted_state "$1" && return 0; }
  job_state=elsewhere
  job_reason="it was started on ${job_machine:-another machine}; the id of its scheduler job is unknown"
}

# row_state DIR: from the scheduler's row.
row_state() {
  word=${row%%\|*} begins=${row#*\|}
  nodes=${begins#*\|} begins=${begins%%\|*}
  why=${nodes#*\|} nodes=${nodes%%\|*}
  case $why in None | '(null)') why= ;; esac
  case $begins in N/A | Unknown) begins= ;; esac
  "${scheduler}_kind" "$word"
  if [ "$kind" != ended ]; then eval "over_$scheduled_id="; fi
  requeued=
  for restart in "$1/$SJ_STARTED".*; do [ ! -e "$restart" ] || requeued=", requeued (${restart##*.})"; done
  case $kind in
    queued)
      [ ! -e "$1/$SJ_STARTED" ] || requeued=', requeued'
      job_state=queued job_reason="$job_reason$requeued${why:+, $why}${begins:+, expected to start $begins}$query_error"
      ;;
    running)
      job_state=running
      [ -e "$1/$SJ_STARTED" ] || job_state=queued
      job_reason="$job_reason on $nodes$requeued$query_error"
      [ "$word" = RUNNING ] || job_reason="$job_reason, $word"
      ;;
    completing)
      job_state=running job_reason="$job_reason is completing on $nodes$query_error"
      [ -e "$1/$SJ_STARTED" ] || job_state=queued
      ;;
    ended) ended_state "$1" "$word" ;;
  esac
}

# ended_state DIR WORD: of a job that has ended according to the scheduler, or that it does not list any more. The
# record may still arrive, and the history may know more.
ended_state() {
  cacheable=
  eval "over=\${over_$scheduled_id-}"
  [ -n "$over" ] || {
    seconds_up
    over=$seconds
    eval "over_$scheduled_id=\$seconds"
    if [ -z "$SJ_NO_HISTORY" ] && { [ "$2" = absent ] || ! "${scheduler}_is_final" "$2"; }; then
      SJ_HISTORY=$SJ_HISTORY${SJ_HISTORY:+,}$scheduled_id
      eval "history_$scheduled_id=\$((SJ_QUERIES + 1))"
    fi
    refresh_directory "$1"
  }
  seconds_up
  eval "history=\${history_$scheduled_id-0}"
  late_record=$SJ_LATE_RECORD
  [ "$outcome" != lost ] || late_record=$SJ_LATER_RECORD
  [ ! -e "$1/$SJ_UNSETTLED" ] || late_record=0
  if [ "$seconds" -lt $((over + late_record)) ] || { [ "$SJ_LISTING" -lt "$history" ] && [ -z "$SJ_NO_HISTORY" ]; }; then
    job_state=running job_reason="$job_reason: $2; waiting for details of its end"
    return
  fi
  refresh_directory "$1"
  job_state=running
  if ended "$1" || privately settle "$1" "$2"; then
    ! ended "$1" || job_state=ended
  fi
}

# refresh_directory DIR: a network file system updates its cache when a directory is listed.
# shellcheck disable=SC2012
refresh_directory() { ls "$1" >/dev/null 2>&1; }

# settle DIR WORD: writes the record of a job that has ended without one, from the scheduler's state. A job that has not
# started cannot start afterwards.
settle() {
  word=${2%% *}
  if [ -e "$1/$SJ_CANCEL" ]; then
    outcome=cancelled
    read -r by <"$1/$SJ_CANCEL"
    reason="by $by"
  elif [ "$2" = absent ]; then
    outcome=lost word=
    reason="$scheduler_name no longer knows job $scheduled_id"
  else
    reason="$scheduler_name reports $2${why:+ ($why)} for job $scheduled_id${nodes:+ on $nodes}"
  fi
  if [ -e "$1/$SJ_UNSETTLED" ]; then
    settle_record "$1"
    return
  fi
  [ -e "$1/$SJ_STARTED" ] || claim_run_marker "$1" || return
  write_scheduled_end "$1" "$outcome" "$reason" "$word"
}

# settle_record DIR: completes the record of a supervisor that was ended and did not know why.
settle_record() {
  settled=
  while IFS= read -r shown || [ -n "$shown" ]; do
    case $shown in
      'outcome: killed') case $outcome in cancelled | timed_out) shown="outcome: $outcome" ;; esac ;;
      'reason: '*)
        case $word in
          # adds nothing to the record
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
  write_record "$1" '' "$settled"
}

# write_scheduled_end DIR OUTCOME REASON WORD: writes the record that the supervisor did not write.
write_scheduled_end() {
  key=${1%/*} code='' signal=''
  case $2 in cancelled) code=143 ;; killed) code=137 signal=KILL ;; esac
  log_bytes=$(wc -c <"$1/$SJ_LOG")
  write_record "$1" "$code" "job: ${key##*/}/${1##*/}
outcome: $2
exit_code: $code
signal: $signal
reason: $3
scheduler: $4
log_bytes: ${log_bytes##* }"
}

# cancel_scheduled DIR GRACE BY: a queued job never starts; a running one is signalled, and cancelled by the scheduler
# if it has not ended GRACE seconds later.
cancel_scheduled() {
  read_launch "$1" || return
  emit "$3" >"$1/$SJ_CANCEL"
  [ -e "$1/$SJ_STARTED" ] || cancel_unstarted "$1" "$3"
  # of two scheduler jobs, see claim_run, job_state has set $scheduled_id to the one that runs
  if [ -n "$scheduled_id" ]; then
    :
  elif [ -s "$1/$SJ_SCHEDULER_ID" ]; then
    read -r scheduled_id <"$1/$SJ_SCHEDULER_ID"
  elif [ -s "$1/$SJ_SCHEDULED" ]; then
    SJ_FOUND_AS=
    find_scheduled "$1" 2>/dev/null
  fi
  [ -n "$scheduled_id" ] || return 0
  if ended "$1"; then
    call_scheduler cancel
  elif ! call_scheduler signal || ! await_record "$1" "$2"; then
    call_scheduler cancel && await_record "$1" 5
  fi
}

# call_scheduler VERB: sets $job_reason to the error if there is one. If it succeeds, the job can be ended from this
# host.
call_scheduler() {
  job_reason=$("${scheduler}_$1" "$scheduled_id" 2>&1) && {
    [ "$job_state" != elsewhere ] || job_state=running
    return
  }
  job_reason="$scheduler_name: $job_reason"
  # the client will repeat its request
  sleep 2
  return 1
}

# await_record DIR SECONDS: and five more, because the record may arrive through a network file system.
await_record() {
  seconds_up
  record_deadline=$((seconds + $2 + 5))
  while [ "$seconds" -le "$record_deadline" ]; do
    ! ended "$1" || return 0
    pause
    seconds_up
  done
  return 1
}
