#!/bin/sh
# supervise.sh JOB_DIRECTORY UMASK: runs one attempt and writes its record. Started detached; may be started
# any number of times: the first to publish `started` runs the command, any other leaves at once.
# shellcheck disable=SC2154  # the spec and the sourced functions set variables
umask 077
dir=$1 user_umask=$2
lib=${0%/*}
# shellcheck source=/dev/null
. "$lib/layout.sh"
# shellcheck source=/dev/null
. "$lib/common.sh"
# shellcheck source=/dev/null
. "$lib/process.sh"
# shellcheck source=/dev/null
. "$lib/outputs.sh"

# Signals are how others reach the supervisor; they must be safe before anybody can know its number.
verdict=
trap 'verdict=${verdict:-terminated}' TERM
trap 'verdict=${verdict:-timed_out}' USR1

attempt=${dir##*/}
key=${dir%/*}
key=${key##*/}
# Only the command and its children carry this in their environment; /log at its end keeps attempt 1 apart from 10.
mark=SSHJOB_LOG=$dir/$SJ_LOG

# claim_run: publishes the identity as `started`, whole, unless somebody did so before. Renaming a directory
# onto one that is not empty fails (POSIX rename), so there is no moment with half a claim.
claim_run() {
  scratch=.run.$$
  machine_identity
  process_start $$ && mkdir -p "$scratch/$SJ_STARTED" || return 1
  {
    emit "pid: $$"
    emit "start: $start"
    emit "machine: $machine"
    emit "boot: $boot"
  } >"$scratch/$SJ_IDENTITY" && mv "$scratch/$SJ_STARTED" ./ 2>/dev/null && return 0
  rm -rf "$scratch"
  return 1
}

# interpreter: sets $program and $argument from the command's #! line as the kernel would, which also works
# where files must not be executed (noexec) and leaves the file without an x bit.
interpreter() {
  program=/bin/sh argument=
  IFS= read -r first <"$SJ_COMMAND"
  case $first in '#!'*) ;; *) return ;; esac
  # shellcheck disable=SC2086
  set -f && set -- ${first#'#!'} && set +f
  [ $# -gt 0 ] || return
  program=$1
  shift
  argument=$*
}

# run_command: becomes the command, in a session of its own so that a signal to the one never hits the other.
run_command() {
  trap - TERM USR1
  SSHJOB_ID=$key/$attempt SSHJOB_DIR=$dir SSHJOB_LOG=$dir/$SJ_LOG SSHJOB_PROGRESS=$dir/$SJ_PROGRESS
  export SSHJOB_ID SSHJOB_DIR SSHJOB_LOG SSHJOB_PROGRESS
  each_output export_output
  umask "$user_umask"
  cd "$working_directory" || exit 126
  set -- "$program" ${argument:+"$argument"} "$dir/$SJ_COMMAND"
  for setsid in /usr/bin/setsid /bin/setsid; do
    [ -x "$setsid" ] && set -- "$setsid" "$@" && break
  done
  # gone from the disk before any of it is in force, PATH for one
  secrets=$(cat "$dir/$SJ_ENVIRONMENT") || exit 126
  rm -f "$dir/$SJ_ENVIRONMENT"
  eval "$secrets"
  exec "$@"
}

# keep_deadline: tells the supervisor again until it has heard, as a signal may fall between two of its
# instructions; does the killing itself where there is no supervisor any more.
keep_deadline() {
  trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
  supervisor_start=$start
  deadline=$(($(date +%s) + time_limit))
  left=$time_limit
  while [ "$left" -gt 0 ]; do
    sleep "$left" &
    sleeper=$!
    # somebody may have ended the sleep before its time
    wait "$sleeper" && break
    left=$((deadline - $(date +%s)))
  done
  while process_start $$ && [ "$start" = "$supervisor_start" ]; do
    kill -s USR1 $$
    pause
  done
  kill_job "$mark" none "$kill_grace"
}

# await_command: sets $code to the command's exit status, after killing what is to be killed.
await_command() {
  wait "$command_pid"
  code=$?
  # what is sent from here on comes too late, and must not disturb the next wait, which is for the end
  trap '' TERM USR1
  [ -n "$verdict" ] || return 0
  if ! process_start "$command_pid"; then
    # it ended by itself at the same moment
    verdict=
  elif ! kill_job "$mark" "$command_pid" "$kill_grace"; then
    reason="some of its processes could not be killed"
    return 0
  fi
  wait "$command_pid"
  final_code=$?
  # 127: no such child any more, so the first answer was the command's own
  [ "$final_code" -eq 127 ] || code=$final_code
}

# settle_verdict: a TERM that nobody has asked for by `cancel` came from elsewhere, a shutdown of the host say.
settle_verdict() {
  outcome=$verdict
  [ "$verdict" = terminated ] || return 0
  if [ -e "$SJ_CANCEL" ]; then
    outcome=cancelled by=
    read -r by <"$SJ_CANCEL"
    reason="by $by${reason:+; $reason}"
  else
    outcome=killed
    reason="its supervisor was told to end (SIGTERM), perhaps as the host shut down${reason:+; $reason}"
  fi
}

# judge: sets $outcome, and commits or discards the outputs, all or none; the record comes after, so that
# "succeeded" is never said of an output that is not there.
judge() {
  outcome=failed signal=
  [ "$code" -le 128 ] || signal=$(kill -l "$code" 2>/dev/null)
  # some shells answer a number that is no signal with a number
  case $signal in *[!A-Z0-9+-]* | [0-9]*) signal= ;; esac
  if [ -n "$verdict" ]; then
    settle_verdict
  elif [ -z "$reason" ]; then
    case " $success_exit_codes " in
      *" $code "*)
        each_output check_output
        [ -n "$reason" ] || each_output commit_output
        [ -n "$reason" ] || outcome=succeeded
        ;;
      *) [ -z "$signal" ] || outcome=killed ;;
    esac
  fi
  each_output discard_output
}

# write_record: in one write, so that a disk that is full for a moment cannot leave out a line.
write_record() {
  [ -d "$scratch" ] || mkdir -p "$scratch" || return 1
  log_bytes=$(wc -c <"$SJ_LOG")
  # wc may pad with blanks
  emit "job: $key/$attempt
outcome: $outcome
exit_code: $code
signal: $signal
reason: $reason
started: $started
ended: $(now)
log_bytes: ${log_bytes##* }
cpu_time: $cpu_time
machine: $machine
submitted_by: $submitted_by
submitted_at: $submitted_at" >"$scratch/$SJ_RECORD" && emit "$code" >"$scratch/$SJ_EXIT_CODE"
}

# publish_record: the links beside the attempts are what a task without outputs of its own shows as output.
publish_record() {
  if [ "$outcome" = succeeded ] && [ "$publish" = yes ]; then
    ln -sf "$attempt/$SJ_LOG" "../$scratch" && mv -f "../$scratch" "../$SJ_LOG" || return 1
    ln -sf "$attempt/$SJ_RECORD" "../$scratch" && mv -f "../$scratch" "../$SJ_RECORD" || return 1
  fi
  mv -f "$scratch/$SJ_EXIT_CODE" "$scratch/$SJ_RECORD" ./
}

# count_cpu: sets $cpu_time, user and system time of the command and all it waited for, as `times` prints
# those of the children on its second line.
count_cpu() {
  cpu_time=
  # in braces: a redirection that fails ends the shell where it is that of a special builtin
  { times; } >"$scratch/times" && {
    read -r _
    read -r cpu_time
  } <"$scratch/times"
}

cd "$dir" || exit 1
# somebody else has won the run, or nobody could: then what mkdir said is in the diagnostics
claim_run || { [ -e "$SJ_STARTED" ] && exit 0; } || exit 1
started=$(now)
reason='' code=''
# shellcheck disable=SC2317  # called by the spec
output() { :; }
# shellcheck source=/dev/null
. "./$SJ_SPEC"
[ -d "$working_directory" ] || reason="there is no directory $working_directory to work in"
each_output prepare_output
interpreter

if [ -z "$reason" ]; then
  run_command </dev/null >>"$SJ_LOG" 2>&1 &
  command_pid=$!
  deadline_pid=
  if [ -n "$time_limit" ]; then
    keep_deadline </dev/null >/dev/null 2>&1 &
    deadline_pid=$!
  fi
  await_command
  [ -z "$deadline_pid" ] || kill "$deadline_pid" 2>/dev/null
else
  code=126
  emit "luigi_sshjob: $reason" >>"$SJ_LOG"
fi

judge
count_cpu 2>/dev/null
# a full disk may have room in a while; the outcome is known here only
tries=0
until write_record && publish_record; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || exit 1
  pause
done
rm -rf "$scratch" "$SJ_ENVIRONMENT"
