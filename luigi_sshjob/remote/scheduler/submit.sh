# shellcheck shell=sh disable=SC2034,SC2154
# Submits jobs to a scheduler. $scheduler is its name, and the prefix of its functions.
#
# The job directory then contains `launch` (scheduler, seconds between queries, maximum size of an array, options),
# `scheduled` (name and directory by which the scheduler's job can be found, and its index in an array), written before
# the submission, and `scheduler_id`, written after it.

SJ_TO_SUBMIT='' SJ_TO_SUBMIT_COUNT=0 SJ_SUBMITTER='' SJ_INSIST='' SJ_SUBMIT_AT=0 SJ_FOUND_AS=''

# seconds to wait for more jobs for the same array
SJ_GATHER=2

# seconds_up: sets $seconds, for comparisons only.
seconds_up() {
  if [ -r /proc/uptime ]; then
    read -r uptime _ </proc/uptime
    seconds=${uptime%%.*}
  else
    seconds=$(date +%s)
  fi
}

# read_launch DIR: sets $scheduler, $scheduler_name, $interval, $batch and $options; fails for an unknown scheduler.
read_launch() {
  scheduler='' interval='' batch='' options=''
  {
    read -r scheduler
    read -r interval
    read -r batch
    IFS= read -r options
  } <"$1/$SJ_LAUNCH"
  eval "scheduler_name=\${${scheduler}_name-}"
  [ -n "$scheduler_name" ]
}

# schedule DIR: queues it for submission in a process of its own, because a scheduler may be slow and other requests
# wait for this shell.
schedule() {
  [ ! -s "$1/$SJ_SCHEDULER_ID" ] || return 0
  read_launch "$1" || return
  case $1 in *"$newline"*) submission_refused "$1" "its path contains a line break" && return ;; esac
  case $newline$SJ_TO_SUBMIT in
    *"$newline$1$newline"*) ;;
    *)
      SJ_TO_SUBMIT=$SJ_TO_SUBMIT$1$newline SJ_TO_SUBMIT_COUNT=$((SJ_TO_SUBMIT_COUNT + 1))
      SJ_SUBMIT_AT=0
      [ "$batch" -le 1 ] || [ "$SJ_TO_SUBMIT_COUNT" -ge "$batch" ] ||
        { seconds_up && SJ_SUBMIT_AT=$((seconds + SJ_GATHER)); }
      ;;
  esac
  submit_waiting
}

# submit_waiting: submits the queued jobs, in one process at a time.
submit_waiting() {
  [ -n "$SJ_TO_SUBMIT" ] || return 0
  [ "$SJ_SUBMIT_AT" -eq 0 ] || { seconds_up && [ "$seconds" -ge "$SJ_SUBMIT_AT" ]; } || return 0
  if [ -n "$SJ_SUBMITTER" ] && process_start "$SJ_SUBMITTER"; then return 0; fi
  {
    trap - EXIT
    LC_ALL=$SJ_LC_ALL
    [ -n "$LC_ALL" ] || unset LC_ALL
    umask 077
    while [ -n "$SJ_TO_SUBMIT" ]; do submit_next; done
  } </dev/null >/dev/null 2>&1 &
  SJ_SUBMITTER=$! SJ_TO_SUBMIT='' SJ_TO_SUBMIT_COUNT=0 SJ_INSIST=''
}

# submit_next: submits the first queued job, and with it those that fit into the same array.
submit_next() {
  set --
  array_launch=''
  remaining=''
  while [ -n "$SJ_TO_SUBMIT" ]; do
    next=${SJ_TO_SUBMIT%%"$newline"*}
    SJ_TO_SUBMIT=${SJ_TO_SUBMIT#*"$newline"}
    read_launch "$next" || continue
    if [ $# -gt 0 ] && { [ $# -ge "$array_batch" ] || [ "$scheduler $batch $options" != "$array_launch" ]; }; then
      remaining=$remaining$next$newline
    elif begin_submission "$next"; then
      array_launch="$scheduler $batch $options" array_batch=$batch
      set -- "$@" "$next"
    fi
  done
  SJ_TO_SUBMIT=$remaining
  [ $# -eq 0 ] || { read_launch "$1" && submit_together "$@"; }
}

# begin_submission DIR: locks it for submission; fails if there is nothing to submit. An earlier submission may have
# succeeded and only its response been lost; then the scheduler finds the job.
begin_submission() {
  lock_submission "$1" || return
  if [ -e "$1/$SJ_STARTED" ] || [ -s "$1/$SJ_SCHEDULER_ID" ]; then
    rm -f "$1/$SJ_SUBMITTING"
    return 1
  fi
  [ -s "$1/$SJ_SCHEDULED" ] || return 0
  if find_scheduled "$1" 2>>"$1/$SJ_DIAGNOSTICS"; then
    [ -n "$scheduled_id" ] || return 0
    emit "$scheduled_id" >"$1/$SJ_SCHEDULER_ID"
  else
    emit "$scheduler_name does not report whether it already has this job" >>"$1/$SJ_DIAGNOSTICS"
  fi
  rm -f "$1/$SJ_SUBMITTING"
  return 1
}

# lock_submission DIR: fails if another process has the lock. A process on another machine cannot be checked; its lock
# is valid until a client insists. Two submissions at once would do no harm, see claim_run.
lock_submission() {
  submitter=$$
  [ ! -r /proc/self/stat ] || read -r submitter _ </proc/self/stat
  process_start "$submitter"
  submitter=$boot.$submitter.$start
  create_submission_lock "$1" && return
  read -r submitting <"$1/$SJ_SUBMITTING"
  ! holder_lives "$submitting" || return 1
  case $submitting in "$boot".*) ;; *) [ "$SJ_INSIST" = yes ] || return 1 ;; esac
  rm -f "$1/$SJ_SUBMITTING"
  create_submission_lock "$1"
}

create_submission_lock() {
  set -C
  { emit "$submitter" >"$1/$SJ_SUBMITTING"; } 2>/dev/null
  locked=$?
  set +C
  return "$locked"
}

# find_scheduled DIR: sets $scheduled_id to the id of an earlier submission, or to nothing; fails if that is unknown.
find_scheduled() {
  {
    IFS= read -r scheduled_as
    IFS= read -r scheduled_from
    read -r scheduled_index
  } <"$1/$SJ_SCHEDULED"
  # once for all elements of an array
  if [ "$scheduled_as $scheduled_from" != "$SJ_FOUND_AS" ]; then
    SJ_FOUND_AS=
    SJ_FOUND=$("${scheduler}_find" "$scheduled_as" "$scheduled_from") || return
    SJ_FOUND_AS="$scheduled_as $scheduled_from"
  fi
  scheduled_id=$SJ_FOUND
  [ -z "$scheduled_id" ] || select_element "$scheduled_index"
}

# assert_not_scheduled DIR: refuses a new attempt of that number while the scheduler has one whose directory was
# deleted.
assert_not_scheduled() {
  scheduler=${launch%%"$newline"*} key=${1%/*}
  [ "$scheduler" != nohup ] || return 0
  eval "scheduler_name=\${${scheduler}_name-}"
  still=$("${scheduler}_find" "${key##*/}/${1##*/}" "$1" alive) || still=unknown
  [ -z "$still" ] || refuse attempt-still-scheduled \
    "an attempt whose directory was deleted may still be scheduled: $1 ($scheduler_name job $still)"
}

# select_element INDEX: sets $scheduled_id to that of the array's element; without an array (-) it stays.
select_element() { [ "$1" = - ] || scheduled_id=$("${scheduler}_element" "$scheduled_id" "$1"); }

# submit_together DIR...: as one job, or as one array.
submit_together() {
  key=${1%/*}
  submission=${key##*/}/${1##*/} submission_from=$1 index=-
  # a unique name, because the same job may be the first of another array later
  [ $# -eq 1 ] || submission="$submission+$(($# - 1)).${submitter##*.}" index=0
  for submitted_dir; do
    emit "$submission
$submission_from
$index" >"$submitted_dir/$SJ_SCHEDULED" || return
    [ $# -eq 1 ] || index=$((index + 1))
  done
  library=${1%/jobs/*}/lib/$SJ_HASH
  submit_errors=$1/$SJ_SUBMITTING.answer
  scheduled_number=$("${scheduler}_submit" "$submission" "$1" "$options" "$@" 2>"$submit_errors")
  case $scheduled_number in
    '' | *[!0-9A-Za-z_]*) submission_failed "$@" ;;
    *)
      index=-
      [ $# -eq 1 ] || index=0
      for submitted_dir; do
        scheduled_id=$scheduled_number
        select_element "$index"
        emit "$scheduled_id" >"$submitted_dir/$SJ_SCHEDULER_ID"
        [ $# -eq 1 ] || index=$((index + 1))
      done
      ;;
  esac
  rm -f "$submit_errors"
  for submitted_dir; do rm -f "$submitted_dir/$SJ_SUBMITTING"; done
}

# submission_failed DIR...: temporarily or permanently. Without a message the response may have been lost. An array may
# be refused because it is an array.
submission_failed() {
  stderr=
  while read -r shown || [ -n "$shown" ]; do stderr="$stderr${stderr:+; }$shown"; done <"$submit_errors"
  for submitted_dir; do emit "$scheduler_name: ${stderr:-it printed no job id}" >>"$submitted_dir/$SJ_DIAGNOSTICS"; done
  if [ -z "$stderr" ] || "${scheduler}_transient" "$stderr"; then
    return
  elif [ $# -eq 1 ]; then
    submission_refused "$1" "$stderr"
  else
    for alone; do
      submit_together "$alone"
      [ ! -e "$alone/$SJ_RECORD" ] || break
    done
    # the others have the same options
    for alone; do
      [ -s "$alone/$SJ_SCHEDULER_ID" ] || [ -e "$alone/$SJ_RECORD" ] || submission_refused "$alone" "$stderr"
    done
  fi
}

# submission_refused DIR STDERR: ends a job that the scheduler refuses permanently.
submission_refused() {
  claim_run_marker "$1" && write_scheduled_end "$1" failed "$scheduler_name refused the job: $2" REFUSED
}
