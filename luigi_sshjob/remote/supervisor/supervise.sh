#!/bin/sh
# supervise.sh JOB_DIRECTORY UMASK BOOT_TIME [OOM_KILLS [SCHEDULER_ID RESTARTS]]: runs one attempt and writes its record.
# Started detached; may be started any number of times: the first to make the file `started` runs the command, any other
# leaves at once. What it starts besides the command is counted: hosts run many jobs. OOM_KILLS is what oom_kills said a
# moment ago on this machine.
# shellcheck disable=SC2154,SC2034  # the spec and the sourced functions set variables, and use them
umask 077
dir=$1 user_umask=$2 boot_time=${3-} oom_kills=${4-} scheduler_id=${5-} restarts=${6:-0}
lib=${0%/*}
# shellcheck source=/dev/null
. "$lib/layout.sh"
# shellcheck source=/dev/null
. "$lib/util.sh"
# shellcheck source=/dev/null
. "$lib/identity.sh"
# shellcheck source=/dev/null
. "$lib/processes.sh"
# shellcheck source=/dev/null
. "$lib/retry.sh"
# shellcheck source=/dev/null
. "$lib/outputs.sh"
# shellcheck source=/dev/null
. "$lib/exit_status.sh"
# shellcheck source=/dev/null
. "$lib/exit_record.sh"

# Signals are how others reach the supervisor; they must be safe before anybody can know its number.
verdict=
trap 'verdict=${verdict:-terminated}' TERM
trap 'verdict=${verdict:-timed_out}' USR1

attempt=${dir##*/}
key=${dir%/*}
key=${key##*/}
# Only the command and its children carry this in their environment; /log at its end keeps attempt 1 apart from 10.
mark=SSHJOB_LOG=$dir/$SJ_LOG

# claim_run: wins the run, unless somebody did so before. Who one is stands beside it before, so that a winner who
# dies at once is known all the same, see supervised_state.
claim_run() {
  machine_identity
  [ -n "$oom_kills" ] || oom_kills
  oom_kills_before=$oom_kills
  process_start $$ || return 1
  identity="pid: $$
start: $start
machine: $machine
boot: $boot
oom_kills: $oom_kills"
  [ -z "$scheduler_id" ] || identity="$identity
scheduler_id: $scheduler_id"
  emit "$identity" >"$SJ_IDENTITY.$$" || return 1
  if win_run . || run_again; then
    emit "$identity" >"$SJ_IDENTITY"
    return 0
  fi
  rm -f "$SJ_IDENTITY.$$"
  return 1
}

# run_again: whether the scheduler runs the same attempt once more, as was allowed. One wins that, too.
run_again() {
  [ "$requeue" = yes ] && [ "$restarts" -gt 0 ] && [ ! -e "$SJ_RECORD" ] && [ ! -e "$SJ_CANCEL" ] || return 1
  known_id=
  { while read -r _ known; do known_id=$known; done <"$SJ_IDENTITY"; } 2>/dev/null
  [ "$known_id" = "$scheduler_id" ] && win_run . ".$restarts" && rm -f "$SJ_UNSETTLED"
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
  [ -z "$timer" ] || set -- "$timer" -f %M -o "$dir/$scratch/usage" "$@"
  for setsid in /usr/bin/setsid /bin/setsid; do
    [ -x "$setsid" ] && set -- "$setsid" "$@" && break
  done
  # gone from the disk before any of it is in force, PATH for one
  secrets=
  while IFS= read -r secret || [ -n "$secret" ]; do
    secrets=$secrets$secret$newline
  done <"$dir/$SJ_ENVIRONMENT" || exit 126
  [ "$requeue" = yes ] || true >"$dir/$SJ_ENVIRONMENT"
  unset secret
  eval "$secrets"
  exec "$@"
}

start_command() {
  run_command </dev/null >>"$SJ_LOG" 2>&1 4>&- &
  command_pid=$!
}

start_watchdog() {
  keep_deadline </dev/null >/dev/null 2>&1 4>&- &
  deadline_pid=$!
}

# keep_deadline: tells the supervisor again until it has heard, as a signal may fall between two of its
# instructions; does the killing itself where there is no supervisor any more.
keep_deadline() {
  trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
  supervisor_start=$start
  [ ! -r /proc/self/stat ] || read -r own_pid _ </proc/self/stat
  deadline=
  surely await_deadline
  true >"$scratch/deadline"
  while process_start $$ && [ "$start" = "$supervisor_start" ]; do
    kill -s USR1 $$
    surely pause
  done
  # the attempt was cleaned up, and who has its number now is another one
  [ -e "$SJ_STARTED" ] || [ ! -e "$dir" ] || exit 0
  surely kill_job "$mark" none "$kill_grace" ''
}

await_deadline() {
  if [ -z "$deadline" ]; then
    deadline=$(($(date +%s) + time_limit))
    left=$time_limit
  else
    left=$((deadline - $(date +%s)))
  fi
  while [ "$left" -gt 0 ]; do
    sleep "$left" &
    sleeper=$!
    # somebody may have ended the sleep before its time
    wait "$sleeper" && break
    left=$((deadline - $(date +%s)))
  done
}

# await_command: sets $code to the command's exit status, after killing what is to be killed. What the shell says of a
# child that has ended goes to the words, see shell_words.
await_command() {
  # a signal may have come before there was anything to wait for
  [ -n "$verdict" ] || { wait "$command_pid"; } 2>&4
  code=$?
  # what is sent from here on comes too late, and must not disturb the next wait, which is for the end
  trap '' TERM USR1
  if [ -n "$verdict" ]; then
    end_command || return
    { wait "$command_pid"; } 2>&4
    final_code=$?
    # 127: no such child any more, so the first answer was the command's own
    [ "$final_code" -eq 127 ] || code=$final_code
  elif [ -n "$timer" ] && [ "$code" -gt 128 ] && ! read_usage; then
    # somebody has killed the timer alone: what it timed must not outlive the record
    surely kill_job "$mark" none "$kill_grace" ''
  fi
  jobs >&4
}

# end_command: as the verdict says, unless it has ended by itself at the same moment.
end_command() {
  if ! process_start "$command_pid"; then
    verdict=
    return
  fi
  crowd=$command_pid
  surely kill_job "$mark" "$command_pid" "$kill_grace" "$timer"
  all_killed=$?
  crowd='' strongest=${thinned_by:-$strongest}
  [ "$all_killed" -eq 0 ] || reason="some of its processes could not be killed"
  return "$all_killed"
}

cd "$dir" || exit 1
# shellcheck disable=SC2317  # called by the spec
output() { :; }
requeue=no
# shellcheck source=/dev/null
. "./$SJ_SPEC"
# somebody else has won the run, or nobody could: then what mkdir said is in the diagnostics
claim_run || { [ -e "$SJ_STARTED" ] && exit 0; } || exit 1
now
started=$now
scratch=$SJ_SCRATCH
[ -d "$scratch" ] || mkdir -p "$scratch"
reason='' code='' peak_memory=''
[ -d "$working_directory" ] || reason="there is no directory $working_directory to work in"
surely each_output prepare_output
interpreter
reserve_space
read -r timer <"$lib/timer"
[ -x "$timer" ] || timer=
# with our umask; time(1) has the user's
true >"$scratch/usage"
if true >"$scratch/words"; then exec 4>>"$scratch/words"; else exec 4>/dev/null; fi

if [ -z "$reason" ]; then
  surely start_command
  deadline_pid=
  [ -z "$time_limit" ] || surely start_watchdog
  await_command
  [ -z "$deadline_pid" ] || kill "$deadline_pid" 2>/dev/null
else
  code=126
  emit "luigi_sshjob: $reason" >>"$SJ_LOG"
fi

known_reason=$reason
surely judge
count_cpu 2>/dev/null
# a full disk may have room in a while; the outcome is known here only
tries=0
until surely write_record && surely publish_record; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || exit 1
  surely pause
done
# for whoever asks the scheduler, or waits for it (sbatch --dependency=afterok:…)
[ -z "$scheduler_id" ] || [ "$outcome" = succeeded ] || exit "$((code > 0 ? code : 1))"
