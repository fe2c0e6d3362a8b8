# shellcheck shell=sh disable=SC2034,SC2154
# Submits jobs to a scheduler, each with the command that the client has written to its file `launch`. The client judges
# what the command has printed.
#
# The file `submission` of a job directory says how the scheduler's job can be found, before it is submitted: `number`
# counts the submissions of this attempt, `index` is its own in an array of `count` jobs. What `answer` writes follows.

SJ_TO_SUBMIT='' SJ_TO_SUBMIT_COUNT=0 SJ_BEING_SUBMITTED='' SJ_SUBMITTER='' SJ_SUBMITTER_SINCE=0 SJ_SLOW=0 SJ_SUBMIT_AT=0

# locks of other machines, each with the time at which it was first seen
SJ_FOREIGN_LOCKS=''

# changes when a submission may have changed, see scheduled_version
SJ_SUBMIT_COUNT=0

# seconds to wait for more jobs for the same array
SJ_GATHER=2

# read_launch DIR: sets launch_* to the fields of its file `launch`. A later line has precedence, see job_relaunch.
read_launch() {
  launch_scheduler='' launch_batch=1 launch_submit='' launch_job_id='' launch_index=0 launch_restarts=0
  launch_signals=one launch_drop=''
  {
    read -r launch_scheduler
    while read -r field value; do
      case $field in
        batch:) launch_batch=$value ;;
        submit:) launch_submit=$value ;;
        job_id:) launch_job_id=$value ;;
        index:) launch_index=$value ;;
        restarts:) launch_restarts=$value ;;
        signals:) launch_signals=$value ;;
        drop:) launch_drop=$value ;;
      esac
    done
  } <"$1/$SJ_LAUNCH"
}

# read_submission DIR: sets submission_* to the fields of its last submission; the number is 0 if there was none.
read_submission() {
  submission_number=0 submission_status='' submission_id=''
  [ -s "$1/$SJ_SUBMISSION" ] || return 0
  bounded "$1/$SJ_SUBMISSION"
  while read -r field value; do
    case $field in
      number:) submission_number=$value ;;
      id:) submission_id=$value ;;
      status:) submission_status=$value ;;
    esac
  done <"$bounded"
}

# schedule DIR NUMBER: queues it for submission in a process of its own, unless it was submitted after that number.
schedule() {
  read_launch "$1"
  case $newline$SJ_TO_SUBMIT in
    *"$newline$2 $1$newline"*) ;;
    *)
      SJ_TO_SUBMIT="$SJ_TO_SUBMIT$2 $1$newline" SJ_TO_SUBMIT_COUNT=$((SJ_TO_SUBMIT_COUNT + 1)) SJ_SUBMIT_AT=0
      [ "$launch_batch" -le 1 ] || [ "$SJ_TO_SUBMIT_COUNT" -ge "$launch_batch" ] ||
        { seconds_up && SJ_SUBMIT_AT=$((seconds + SJ_GATHER)); }
      ;;
  esac
  submit_waiting
}

# submit_waiting: submits the queued jobs, in one process at a time; up to three that hang are overtaken.
submit_waiting() {
  if [ -n "$SJ_SUBMITTER" ]; then
    if ! process_start "$SJ_SUBMITTER"; then
      SJ_SLOW=0
    else
      [ -n "$SJ_TO_SUBMIT" ] || return 0
      seconds_up
      [ "$SJ_SLOW" -lt 3 ] && [ "$seconds" -ge $((SJ_SUBMITTER_SINCE + 10)) ] || return 0
      SJ_SLOW=$((SJ_SLOW + 1))
    fi
    SJ_SUBMITTER='' SJ_BEING_SUBMITTED='' SJ_SUBMIT_COUNT=$((SJ_SUBMIT_COUNT + 1))
  fi
  [ -n "$SJ_TO_SUBMIT" ] || return 0
  [ "$SJ_SUBMIT_AT" -eq 0 ] || { seconds_up && [ "$seconds" -ge "$SJ_SUBMIT_AT" ]; } || return 0
  {
    trap - EXIT
    umask 077
    while [ -n "$SJ_TO_SUBMIT" ]; do submit_next; done
  } </dev/null >/dev/null 2>&1 &
  SJ_SUBMITTER=$! SJ_BEING_SUBMITTED=$SJ_TO_SUBMIT SJ_TO_SUBMIT='' SJ_TO_SUBMIT_COUNT=0
  seconds_up
  SJ_SUBMITTER_SINCE=$seconds
}

# submit_next: submits the first queued job, and with it those that fit into the same array.
submit_next() {
  set --
  remaining=''
  while [ -n "$SJ_TO_SUBMIT" ]; do
    next=${SJ_TO_SUBMIT%%"$newline"*}
    SJ_TO_SUBMIT=${SJ_TO_SUBMIT#*"$newline"}
    next_dir=${next#* }
    read_launch "$next_dir"
    if [ $# -gt 0 ] && { [ $# -ge "$array_batch" ] || [ "$launch_batch $launch_submit" != "$array_launch" ]; }; then
      remaining=$remaining$next$newline
    elif begin_submission "$next_dir" "${next%% *}"; then
      array_launch="$launch_batch $launch_submit" array_batch=$launch_batch
      set -- "$@" "$next_dir"
    fi
  done
  SJ_TO_SUBMIT=$remaining
  [ $# -eq 0 ] || { read_launch "$1" && submit_together "$@"; }
}

# begin_submission DIR NUMBER: locks it for submission; fails if there is nothing to submit.
begin_submission() {
  lock_submission "$1" || return
  read_submission "$1"
  [ "$submission_number" -ne "$2" ] || [ -n "$submission_id" ] || [ -e "$1/$SJ_STARTED" ] || ended "$1" || return 0
  rm -f "$1/$SJ_SUBMITTING"
  return 1
}

# lock_submission DIR: fails if another process has the lock. A process on another machine cannot be checked; its lock
# is valid until this session has seen it for some minutes. Two submissions at once would do no harm, see claim_run.
lock_submission() {
  submitter=$$
  [ ! -r /proc/self/stat ] || read -r submitter _ </proc/self/stat
  process_start "$submitter"
  submitter=$boot.$submitter.$start
  create_submission_lock "$1" && return
  ! submission_locked "$1" || return 1
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

# submission_locked DIR: whether a process that submits it runs, as far as that is known.
submission_locked() {
  submitting=''
  { read -r submitting <"$1/$SJ_SUBMITTING"; } 2>/dev/null
  case $submitting in
    '') return 1 ;;
    "$boot".*) holder_lives "$submitting" ;;
    *)
      seconds_up
      case $SJ_FOREIGN_LOCKS in
        *" $submitting="*) seen=${SJ_FOREIGN_LOCKS#*" $submitting="} seen=${seen%% *} ;;
        *) seen=$seconds SJ_FOREIGN_LOCKS="$SJ_FOREIGN_LOCKS $submitting=$seconds " ;;
      esac
      [ "$seconds" -lt $((seen + 180)) ]
      ;;
  esac
}

# submit_together DIR...: as one job, or as one array.
submit_together() {
  directory=$1 base=${1%/jobs/*} count=$# last='' suffix='' attempt=${1##*/} key=${1%/*}
  key=${key##*/}
  # a unique name, because the same job may be the first of another array later
  [ $# -eq 1 ] || last=$(($# - 1)) suffix=+$(($# - 1)).${submitter##*.}
  name=$key/$attempt$suffix
  tag=$(emit "$directory" | cksum)
  tag=${tag%%[!0-9]*}
  number_in_array=0 written=yes
  for submitted_dir; do
    read_submission "$submitted_dir"
    [ -n "$last" ] && index=$number_in_array || index=-
    number_in_array=$((number_in_array + 1))
    emit "number: $((submission_number + 1))
name: $name
directory: $directory
tag: $tag
count: $count
index: $index" >"$submitted_dir/$SJ_SUBMISSION" || { written='' && break; }
  done
  # without these nobody would find what was submitted
  [ -z "$written" ] || {
    library=$base/lib/$SJ_HASH submit_answer=$directory/$SJ_SUBMITTING.answer
    LC_ALL=$SJ_LC_ALL
    [ -n "$LC_ALL" ] || unset LC_ALL
    answer "$submit_answer" 120 '' "$launch_submit" "$launch_drop" "$library/scheduler_entry.sh" "$library" "$SJ_UMASK" \
      "$launch_job_id" "$launch_index" "$launch_restarts" "$launch_signals" "$@"
    LC_ALL=C
    export LC_ALL
    # the file that it is written to is read with a bound, see bounded.sh; the id is in the last lines
    answered=$(tail -c 4096 "$submit_answer")
    rm -f "$submit_answer"
    for submitted_dir; do
      emit "$answered" >>"$submitted_dir/$SJ_SUBMISSION"
      submission_note "$submitted_dir"
      cp "$submitted_dir/$SJ_SUBMISSION" "$submission_note"
    done
  }
  for submitted_dir; do rm -f "$submitted_dir/$SJ_SUBMITTING"; done
}
