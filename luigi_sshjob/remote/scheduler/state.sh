# shellcheck shell=sh disable=SC2034,SC2153,SC2154
# What this host knows about a scheduler's job. The client, which also knows what the scheduler says, judges it; the job's
# own record has precedence.

# scheduled_version DIR: sets $version to a text that changes if the facts about a scheduler's job change; to nothing for
# any other job.
scheduled_version() {
  version=
  [ -s "$1/$SJ_LAUNCH" ] && [ ! -e "$1/$SJ_RECORD" ] || return 0
  version=scheduled.$SJ_SUBMIT_COUNT
  for file in "$SJ_STARTED" "$SJ_SUBMITTING" "$SJ_UNSETTLED" "$SJ_CANCEL"; do
    [ ! -e "$1/$file" ] || version=$version.$file
  done
  for file in "$SJ_IDENTITY" "$SJ_DIAGNOSTICS"; do
    [ ! -s "$1/$file" ] || version=$version.$file
  done
  count_restarts "$1"
  version=$version.$restarts
}

# scheduled_state DIR: as job_state, for a job without a record: sets $job_reason to facts, a line for each. Sets
# $cacheable if they depend on the version only.
scheduled_state() {
  job_pid='' job_machine='' job_scheduled='' cacheable=''
  if [ -s "$1/$SJ_IDENTITY" ]; then
    # it may run on this machine
    identity_state "$1" "$1/$SJ_IDENTITY"
    case $job_state in running | unsupervised | ended) return ;; esac
    job_pid=''
  fi
  scheduled_facts "$1"
  [ -n "$in_submission" ] || cacheable=yes
  job_state=scheduled job_reason=$facts
}

# scheduled_facts DIR: sets $facts, and $in_submission. Two files are sent as a whole with them, see write_submission.
scheduled_facts() {
  read -r scheduler <"$1/$SJ_LAUNCH"
  read_submission "$1"
  in_submission=
  case $newline$SJ_TO_SUBMIT$SJ_BEING_SUBMITTED in *" $1$newline"*) in_submission=yes ;; esac
  ! submission_locked "$1" || in_submission=yes
  count_restarts "$1"
  facts="scheduler: $scheduler${newline}submission: $submission_number $submission_status"
  # a mark with a text is that of a client, see cancel_unstarted and job_settle
  if [ -e "$1/$SJ_STARTED" ] && { [ ! -s "$1/$SJ_STARTED" ] || [ -s "$1/$SJ_IDENTITY" ]; }; then
    facts="$facts${newline}started: yes"
  fi
  [ -z "$in_submission" ] || facts="$facts${newline}submitting: yes"
  [ -z "$job_scheduled" ] || facts="$facts${newline}id: $job_scheduled"
  [ -z "$job_machine" ] || facts="$facts${newline}machine: $job_machine"
  [ "$restarts" = 0 ] || facts="$facts${newline}restarts: $restarts"
  [ ! -e "$1/$SJ_UNSETTLED" ] || facts="$facts${newline}unsettled: yes"
  if [ -e "$1/$SJ_CANCEL" ]; then
    bounded "$1/$SJ_CANCEL"
    read -r by <"$bounded"
    facts="$facts${newline}cancelled: $by"
  fi
  if [ ! -e "$1/$SJ_STARTED" ] && [ -s "$1/$SJ_DIAGNOSTICS" ]; then
    bounded "$1/$SJ_DIAGNOSTICS"
    while read -r diagnostic || [ -n "$diagnostic" ]; do last_diagnostic=$diagnostic; done <"$bounded"
    facts="$facts${newline}diagnostic: $last_diagnostic"
  fi
}

# count_restarts DIR: sets $restarts. claim_rerun numbers them without gaps; to list the directory in each poll would cost
# more.
count_restarts() {
  restarts=0
  while [ -e "$1/$SJ_STARTED.$((restarts + 1))" ]; do restarts=$((restarts + 1)); done
}

# write_submission DIR: how it was submitted, and the record that its supervisor has left for the client to complete.
write_submission() {
  part submission "$job_index" "$SJ_MOMENT $SJ_SELF"
  [ ! -s "$1/$SJ_SUBMISSION" ] || show "$1/$SJ_SUBMISSION"
  [ ! -s "$1/$SJ_UNSETTLED" ] || {
    part unsettled "$job_index"
    show "$1/$SJ_UNSETTLED"
  }
}

# job_adopt DIR NUMBER ID: notes the id of the scheduler's job for the submission of that number, if the answer was lost or
# does not have it.
job_adopt() {
  # even if another client has done it: this one does not know the id
  SJ_SUBMIT_COUNT=$((SJ_SUBMIT_COUNT + 1))
  read_submission "$1"
  [ "$submission_number" -ne "$2" ] || [ "$submission_id" = "$3" ] || emit "id: $3" >>"$1/$SJ_SUBMISSION"
}

# job_settle DIR EXIT_CODE RECORD: writes the record of a job that has ended without one. A job that has not started
# cannot start afterwards.
job_settle() {
  refresh_directory "$1"
  ! ended "$1" || return 0
  [ -e "$1/$SJ_STARTED" ] || privately claim_run_marker "$1" '' settled || return 0
  log_bytes=$(wc -c <"$1/$SJ_LOG")
  case $newline$3 in
    *"${newline}log_bytes: "*) privately write_record "$1" "$2" "$3" ;;
    *) privately write_record "$1" "$2" "$3${newline}log_bytes: ${log_bytes##* }" ;;
  esac
}

# refresh_directory DIR: a network file system updates its cache when a directory is listed.
# shellcheck disable=SC2012
refresh_directory() { ls "$1" >/dev/null 2>&1; }

# cancel_scheduled DIR BY: a job that has not started never does; the client has the scheduler end it.
cancel_scheduled() {
  job_index=0
  [ -s "$1/$SJ_CANCEL" ] || emit "$2" >"$1/$SJ_CANCEL"
  if [ ! -e "$1/$SJ_STARTED" ]; then
    cancel_unstarted "$1" "$2"
  elif [ -s "$1/$SJ_STARTED" ] && [ ! -s "$1/$SJ_IDENTITY" ]; then
    # by a client that has died before it wrote the record
    record_cancelled "$1" "$2"
  fi
  write_submission "$1"
}
