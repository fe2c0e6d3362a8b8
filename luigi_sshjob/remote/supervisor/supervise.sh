#!/bin/sh
# supervise.sh JOB_DIRECTORY UMASK: runs one attempt and writes its exit record. Started detached, any number of times:
# the first to create the file `started` runs the command, the others exit at once. It starts few processes besides the
# command, because hosts run many jobs.
#
# In the environment, all optional: SSHJOB_BOOT_TIME (see boot_time) and SSHJOB_OOM_KILLS (see oom_kills), to save their
# cost; SSHJOB_SCHEDULER_ID, the id of the scheduler's job, and SSHJOB_RESTARTS, how often the scheduler requeued it.
# shellcheck disable=SC2154,SC2034  # the spec and the sourced functions set variables, and use them
umask 077
dir=$1 user_umask=$2
boot_time=${SSHJOB_BOOT_TIME-} oom_kills=${SSHJOB_OOM_KILLS-}
scheduler_id=${SSHJOB_SCHEDULER_ID-} restarts=${SSHJOB_RESTARTS:-0}
# not for the command
unset SSHJOB_BOOT_TIME SSHJOB_OOM_KILLS SSHJOB_SCHEDULER_ID SSHJOB_RESTARTS
lib=${0%/*}
for script in layout util identity processes retry outputs exit_status exit_record; do
  # shellcheck source=/dev/null
  . "$lib/$script.sh"
done

# Set before the process id is published: the supervisor is controlled by signals.
verdict=
trap 'verdict=${verdict:-terminated}' TERM
trap 'verdict=${verdict:-timed_out}' USR1

attempt=${dir##*/}
key=${dir%/*}
key=${key##*/}
# Only the command and its children have this in their environment; /log at its end distinguishes attempt 1 from 10.
mark=SSHJOB_LOG=$dir/$SJ_LOG

# claim_run: claims the run; fails if another supervisor has. The identity is written before, so that a supervisor that
# dies right after its claim is known, see supervised_state.
claim_run() {
  host_identity
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
  if claim_run_marker . || claim_rerun; then
    emit "$identity" >"$SJ_IDENTITY"
    return 0
  fi
  rm -f "$SJ_IDENTITY.$$"
  return 1
}

# claim_rerun: claims another run of an attempt that the scheduler has requeued, if the task allows that.
claim_rerun() {
  [ "$requeue" = yes ] && [ "$restarts" -gt 0 ] && [ ! -e "$SJ_RECORD" ] && [ ! -e "$SJ_CANCEL" ] || return 1
  known_id=
  { while read -r _ known; do known_id=$known; done <"$SJ_IDENTITY"; } 2>/dev/null
  [ "$known_id" = "$scheduler_id" ] && claim_run_marker . ".$restarts" && rm -f "$SJ_UNSETTLED"
}

# interpreter: sets $program and $argument from the command's #! line as the kernel would. So the command also runs
# where files must not be executed (noexec), and needs no x bit.
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

# run_command: becomes the command, in a session of its own so that no signal reaches both it and the supervisor.
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
  # deleted from the disk before any of it takes effect, PATH for example
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

# keep_deadline: signals the supervisor at the time limit until it has ended, because a signal may arrive between two of
# its instructions; kills the job itself if the supervisor is dead.
keep_deadline() {
  trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
  supervisor_start=$start
  [ ! -r /proc/self/stat ] || read -r own_pid _ </proc/self/stat
  deadline=
  retry_fork await_deadline
  true >"$scratch/deadline"
  while process_start $$ && [ "$start" = "$supervisor_start" ]; do
    kill -s USR1 $$
    retry_fork pause
  done
  # the attempt was removed, and another one may have its number now
  [ -e "$SJ_STARTED" ] || [ ! -e "$dir" ] || exit 0
  retry_fork kill_job "$mark" none "$kill_grace" ''
}

await_deadline() {
  while :; do
    seconds=$(date +%s)
    # an unknown time is not a reason to end a job
    [ -n "$seconds" ] || {
      pause
      continue
    }
    deadline=${deadline:-$((seconds + time_limit))}
    [ "$seconds" -lt "$deadline" ] || return 0
    sleep $((deadline - seconds)) &
    sleeper=$!
    # the sleep may have been killed before its end
    wait "$sleeper" && return
  done
}

# await_command: sets $code to the command's exit status, after killing the job if there is a verdict. What the shell
# prints about a child that has ended goes to the notices, see parse_shell_notice.
await_command() {
  # a signal may have arrived before there was a command to wait for
  [ -n "$verdict" ] || { wait "$command_pid"; } 2>&4
  code=$?
  # later signals come too late, and must not interrupt the next wait
  trap '' TERM USR1
  if [ -n "$verdict" ]; then
    end_command || return
    { wait "$command_pid"; } 2>&4
    final_code=$?
    # 127: already waited for, so the first status was the command's own
    [ "$final_code" -eq 127 ] || code=$final_code
  elif [ -n "$timer" ] && [ "$code" -gt 128 ] && ! read_usage; then
    # only the timer was killed: its child must not outlive the record
    retry_fork kill_job "$mark" none "$kill_grace" ''
  fi
  jobs >&4
}

# end_command: kills the job, unless the command ended on its own at the same moment.
end_command() {
  if ! process_start "$command_pid"; then
    verdict=
    return
  fi
  command_group=$command_pid
  retry_fork kill_job "$mark" "$command_pid" "$kill_grace" "$timer"
  kill_status=$?
  command_group='' strongest=${group_killed_by:-$strongest}
  [ "$kill_status" -eq 0 ] || reason="some processes of the job could not be killed"
  return "$kill_status"
}

cd "$dir" || exit 1
# shellcheck disable=SC2317  # called by the spec
output() { :; }
requeue=no
# shellcheck source=/dev/null
. "./$SJ_SPEC"
# another supervisor has claimed the run, or none could: then the diagnostics have the error
claim_run || { [ -e "$SJ_STARTED" ] && exit 0; } || exit 1
now
started=$now
scratch=$SJ_SCRATCH
[ -d "$scratch" ] || mkdir -p "$scratch"
reason='' code='' peak_memory=''
[ -d "$working_directory" ] || reason="the working directory $working_directory does not exist"
retry_fork each_output prepare_output
interpreter
reserve_space
read -r timer <"$lib/timer"
[ -x "$timer" ] || timer=
# created here with umask 077, because time(1) runs with the user's
true >"$scratch/usage"
if true >"$scratch/notices"; then exec 4>>"$scratch/notices"; else exec 4>/dev/null; fi

if [ -z "$reason" ]; then
  retry_fork start_command
  deadline_pid=
  [ -z "$time_limit" ] || retry_fork start_watchdog
  await_command
  [ -z "$deadline_pid" ] || kill "$deadline_pid" 2>/dev/null
else
  code=126
  emit "luigi_sshjob: $reason" >>"$SJ_LOG"
fi

known_reason=$reason
retry_fork decide_outcome
count_cpu 2>/dev/null
# a full disk may have room later, and only this process knows the outcome
tries=0
until retry_fork write_record && retry_fork publish_record; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || exit 1
  retry_fork pause
done
# for the scheduler's own records, and for jobs that depend on this one (sbatch --dependency=afterok:…)
[ -z "$scheduler_id" ] || [ "$outcome" = succeeded ] || exit "$((code > 0 ? code : 1))"
