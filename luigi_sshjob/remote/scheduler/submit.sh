# shellcheck shell=sh disable=SC2034,SC2154
# Submitting jobs to a scheduler. $scheduler names it: what is its own is in a file of that name.
#
# A job directory then has `launch` (scheduler, seconds between two questions, how many at once, options), `scheduled`
# (name and directory by which the scheduler's job is found again, its index in an array), written before it is
# submitted, and `scheduler_id`, written after.

SJ_TO_SUBMIT='' SJ_TO_SUBMIT_COUNT=0 SJ_SUBMITTER='' SJ_INSIST='' SJ_GATHERED=0 SJ_SOUGHT=''

# seconds for which more is waited for that could go into the same array
SJ_GATHER=2

# seconds_up: sets $seconds, only to be compared.
seconds_up() {
  if [ -r /proc/uptime ]; then
    read -r uptime _ </proc/uptime
    seconds=${uptime%%.*}
  else
    seconds=$(date +%s)
  fi
}

# read_launch DIR: sets $scheduler and what is its own.
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

# schedule DIR: to be submitted by a process of its own: a scheduler may take its time, and others wait for this shell.
schedule() {
  [ ! -s "$1/$SJ_SCHEDULER_ID" ] || return 0
  read_launch "$1" || return
  case $1 in *"$newline"*) refused "$1" "its path has a line break" && return ;; esac
  case $newline$SJ_TO_SUBMIT in
    *"$newline$1$newline"*) ;;
    *)
      SJ_TO_SUBMIT=$SJ_TO_SUBMIT$1$newline SJ_TO_SUBMIT_COUNT=$((SJ_TO_SUBMIT_COUNT + 1))
      SJ_GATHERED=0
      [ "$batch" -le 1 ] || [ "$SJ_TO_SUBMIT_COUNT" -ge "$batch" ] ||
        { seconds_up && SJ_GATHERED=$((seconds + SJ_GATHER)); }
      ;;
  esac
  submit_waiting
}

# submit_waiting: one process at a time submits all that has come together.
submit_waiting() {
  [ -n "$SJ_TO_SUBMIT" ] || return 0
  [ "$SJ_GATHERED" -eq 0 ] || { seconds_up && [ "$seconds" -ge "$SJ_GATHERED" ]; } || return 0
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

# submit_next: the first that waits, and with it those that go into the same array.
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
    elif take_submission "$next"; then
      array_launch="$scheduler $batch $options" array_batch=$batch
      set -- "$@" "$next"
    fi
  done
  SJ_TO_SUBMIT=$remaining
  [ $# -eq 0 ] || { read_launch "$1" && submit_together "$@"; }
}

# take_submission DIR: fails where it is not to be submitted, or another process does that at this moment. An earlier
# try may have been heard, and only the answer lost: then the scheduler knows.
take_submission() {
  take_submitting "$1" || return
  if [ -e "$1/$SJ_STARTED" ] || [ -s "$1/$SJ_SCHEDULER_ID" ]; then
    rm -f "$1/$SJ_SUBMITTING"
    return 1
  fi
  [ -s "$1/$SJ_SCHEDULED" ] || return 0
  if find_scheduled "$1" 2>>"$1/$SJ_DIAGNOSTICS"; then
    [ -n "$scheduled_id" ] || return 0
    emit "$scheduled_id" >"$1/$SJ_SCHEDULER_ID"
  else
    emit "$scheduler_name does not say whether it has it already" >>"$1/$SJ_DIAGNOSTICS"
  fi
  rm -f "$1/$SJ_SUBMITTING"
  return 1
}

# take_submitting DIR: the process that submits it. On another machine it cannot be seen, and is given the time until
# somebody insists. Two at once would do no harm, see claim_run.
take_submitting() {
  submitter=$$
  [ ! -r /proc/self/stat ] || read -r submitter _ </proc/self/stat
  process_start "$submitter"
  submitter="$SJ_MACHINE $submitter $start"
  claim_submitting "$1" && return
  read -r holder_machine holder holder_start <"$1/$SJ_SUBMITTING"
  if [ "$holder_machine" = "$SJ_MACHINE" ]; then
    if process_start "$holder" && [ "$start" = "$holder_start" ]; then return 1; fi
  elif [ "$SJ_INSIST" != yes ]; then
    return 1
  fi
  rm -f "$1/$SJ_SUBMITTING"
  claim_submitting "$1"
}

claim_submitting() {
  set -C
  { emit "$submitter" >"$1/$SJ_SUBMITTING"; } 2>/dev/null
  won=$?
  set +C
  return "$won"
}

# find_scheduled DIR: sets $scheduled_id to that of an earlier try, or to nothing; fails where that cannot be known.
find_scheduled() {
  {
    IFS= read -r scheduled_as
    IFS= read -r scheduled_from
    read -r scheduled_index
  } <"$1/$SJ_SCHEDULED"
  # the elements of one array are asked for once
  if [ "$scheduled_as $scheduled_from" != "$SJ_SOUGHT" ]; then
    SJ_SOUGHT=
    SJ_FOUND=$("${scheduler}_find" "$scheduled_as" "$scheduled_from") || return
    SJ_SOUGHT="$scheduled_as $scheduled_from"
  fi
  scheduled_id=$SJ_FOUND
  [ -z "$scheduled_id" ] || scheduler_element "$scheduled_index"
}

# scheduled_nowhere DIR: refuses a new attempt of that number while the scheduler has one whose directory was deleted.
scheduled_nowhere() {
  scheduler=${launch%%"$newline"*} key=${1%/*}
  [ "$scheduler" != nohup ] || return 0
  eval "scheduler_name=\${${scheduler}_name-}"
  still=$("${scheduler}_find" "${key##*/}/${1##*/}" "$1" alive) || still=unknown
  [ -z "$still" ] ||
    refuse attempt-still-scheduled "the scheduler may still have an attempt whose directory was deleted (job $still): $scheduler_name, $1"
}

# scheduler_element INDEX: makes $scheduled_id that of an element; of a job that is no array it stays.
scheduler_element() { [ "$1" = - ] || scheduled_id=$("${scheduler}_element" "$scheduled_id" "$1"); }

# submit_together DIR...: as one job, or one array.
submit_together() {
  key=${1%/*}
  submission=${key##*/}/${1##*/} submission_from=$1 index=-
  # the same first one may once more be that of another array
  [ $# -eq 1 ] || submission="$submission+$(($# - 1)).${submitter##* }" index=0
  for submitted_dir; do
    emit "$submission
$submission_from
$index" >"$submitted_dir/$SJ_SCHEDULED" || return
    [ $# -eq 1 ] || index=$((index + 1))
  done
  library=${1%/jobs/*}/lib/$SJ_HASH
  answer=$1/$SJ_SUBMITTING.answer
  scheduled_number=$("${scheduler}_submit" "$submission" "$1" "$options" "$@" 2>"$answer")
  case $scheduled_number in
    '' | *[!0-9A-Za-z_]*) not_submitted "$@" ;;
    *)
      index=-
      [ $# -eq 1 ] || index=0
      for submitted_dir; do
        scheduled_id=$scheduled_number
        scheduler_element "$index"
        emit "$scheduled_id" >"$submitted_dir/$SJ_SCHEDULER_ID"
        [ $# -eq 1 ] || index=$((index + 1))
      done
      ;;
  esac
  rm -f "$answer"
  for submitted_dir; do rm -f "$submitted_dir/$SJ_SUBMITTING"; done
}

# not_submitted DIR...: for now, or for good. Where nothing was said an answer may have been lost. What is wrong with an
# array may be that it is one.
not_submitted() {
  said=
  while read -r shown || [ -n "$shown" ]; do said="$said${said:+; }$shown"; done <"$answer"
  for submitted_dir; do emit "$scheduler_name: ${said:-it gave no number}" >>"$submitted_dir/$SJ_DIAGNOSTICS"; done
  if [ -z "$said" ] || "${scheduler}_transient" "$said"; then
    return
  elif [ $# -eq 1 ]; then
    refused "$1" "$said"
  else
    for alone; do
      submit_together "$alone"
      [ ! -e "$alone/$SJ_RECORD" ] || break
    done
    # the others want the same
    for alone; do [ -s "$alone/$SJ_SCHEDULER_ID" ] || [ -e "$alone/$SJ_RECORD" ] || refused "$alone" "$said"; done
  fi
}

# refused DIR WORDS: it will be the same the next time. Whoever wins the run may say how it ended.
refused() { win_run "$1" && write_scheduled_end "$1" failed '' '' "$scheduler_name refused it: $2" REFUSED; }
