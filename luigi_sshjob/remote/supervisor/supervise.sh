#!/bin/sh
# supervise.sh JOB_DIRECTORY UMASK: runs one attempt and writes its exit record. Started detached, any number of times:
# the first to create the file `started` runs the command, the others exit at once. It starts few processes besides the
# command, because hosts run many jobs.
#
# It is installed as one file with the functions that it uses, see scripts.py.
#
# In the environment, all optional: SSHJOB_MACHINE and SSHJOB_BOOT (see host_identity), SSHJOB_BOOT_TIME (see boot_time),
# SSHJOB_HARDWARE (see hardware_identity) and SSHJOB_OOM_KILLS (see oom_kills), to save their cost; SSHJOB_SCHEDULER_ID, the
# id of the scheduler's job, SSHJOB_RESTARTS, how often the scheduler requeued it, and SSHJOB_SIGNALS, "all" if its signals
# reach all processes.
# shellcheck disable=SC2154,SC2034  # the spec and the other functions set variables, and use them
umask 077
dir=$1 user_umask=$2
machine=${SSHJOB_MACHINE-} boot=${SSHJOB_BOOT-} boot_time=${SSHJOB_BOOT_TIME-} hardware=${SSHJOB_HARDWARE-} oom_kills=${SSHJOB_OOM_KILLS-}
scheduler_id=${SSHJOB_SCHEDULER_ID-} restarts=${SSHJOB_RESTARTS:-0} signals=${SSHJOB_SIGNALS:-one}
# of an rc file; see find_supervisor
exec 5>&-
# not for the command
unset SSHJOB_MACHINE SSHJOB_BOOT SSHJOB_BOOT_TIME SSHJOB_HARDWARE SSHJOB_OOM_KILLS SSHJOB_SCHEDULER_ID SSHJOB_RESTARTS SSHJOB_SIGNALS
lib=${0%/*}

# Set before the process id is published: the supervisor is controlled by signals.
verdict='' terminated='' announced='' watchdog_pid='' warning_signal='' warning_time='' term_waits=no
trap 'on_term' TERM USR2
trap 'on_limit' USR1

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
  reset_signals
  # a shell cannot handle a signal that it has to ignore from its start
  [ -z "$warning_signal" ] || trap - "$warning_signal"
  if [ -r /proc/self/stat ]; then
    # before it is the command, so that no command runs that is not known
    describe_command self && publish_command || exit 126
  fi
  SSHJOB_ID=$key/$attempt SSHJOB_DIR=$dir SSHJOB_LOG=$dir/$SJ_LOG SSHJOB_PROGRESS=$dir/$SJ_PROGRESS
  SSHJOB_REASON=$dir/$scratch/$SJ_REASON SSHJOB_LIB=$lib SSHJOB_SCRATCH=${dir%/*}/$SJ_KEPT
  export SSHJOB_ID SSHJOB_DIR SSHJOB_LOG SSHJOB_PROGRESS SSHJOB_REASON SSHJOB_LIB SSHJOB_SCRATCH
  # gc removes that of a task without attempts, and its place may be a link that leads nowhere
  [ -e "$SSHJOB_SCRATCH" ] || { rm -f "$SSHJOB_SCRATCH" && mkdir -p "$SSHJOB_SCRATCH"; }
  each_output export_output
  umask "$user_umask"
  cd "$working_directory" || exit 126
  set -- "$program" ${argument:+"$argument"} "$dir/$SJ_COMMAND"
  if [ -n "$setup_shell" ]; then
    set -- "$lib/run_setup.sh" "$dir/$SJ_SETUP" "$dir/$scratch/$SJ_SETUP" "$setup_shell" "$setup_modules" "$PWD" "$@"
    set -- "$setup_program" ${setup_option:+"$setup_option"} "$@"
  fi
  [ -z "$timer" ] || set -- "$timer" -f %M -o "$dir/$scratch/usage" "$@"
  # shellcheck disable=SC2086  # options
  [ -z "$ionice_program" ] || set -- "$ionice_program" $ionice_options "$@"
  [ -z "$nice_program" ] || set -- "$nice_program" -n "$nice" "$@"
  [ -z "$autogroup" ] || [ -z "$setsid" ] || set -- /bin/sh -c "$autogroup_nice" "$nice" "$@"
  [ -z "$setsid" ] || set -- "$setsid" "$@"
  enter_limits
  # deleted from the disk before any of it takes effect, PATH for example
  secrets=
  while IFS= read -r secret || [ -n "$secret" ]; do
    secrets=$secrets$secret$newline
  done <"$dir/$SJ_ENVIRONMENT" || exit 126
  [ "$requeue" = yes ] || true >"$dir/$SJ_ENVIRONMENT"
  unset secret
  eval "$secrets"
  # the last that holds the slots, see slots.sh; a shell may not pass on what its own exec has opened
  [ -z "$grant" ] || exec "$@" 8<&9 9<&-
  exec "$@"
}

# find_setsid: sets $setsid to a setsid(1), or to nothing.
find_setsid() {
  for setsid in /usr/bin/setsid /bin/setsid; do
    [ ! -x "$setsid" ] || return 0
  done
  setsid=
}

start_command() {
  run_command </dev/null >>"$SJ_LOG" 2>&1 3<&- 4>&- 5>&- &
  command_pid=$!
}

# describe_child: for systems where a process does not know its own number.
describe_child() { describe_command "$command_pid" && publish_command; }

# await_command: sets $code to the command's exit status, after killing the job if there is a verdict. What the shell
# prints about a child that has ended goes to the notices, see parse_shell_notice.
await_command() {
  code=0
  # a signal may have arrived before there was a command to wait for; one without a meaning only interrupts the wait
  while [ -z "$verdict" ]; do
    ignored=''
    { wait "$command_pid"; } 2>&4
    waited=$?
    # 127: already waited for
    [ "$waited" -eq 127 ] && [ "$code" -ne 0 ] || code=$waited
    [ -n "$ignored" ] || break
  done
  # later signals come too late, and must not interrupt the next wait
  trap '' TERM USR1 USR2
  ended_itself=''
  if [ -n "$verdict" ]; then
    end_command || return
    { wait "$command_pid"; } 2>&4
    final_code=$?
    # 127: already waited for, so the first status was the command's own
    [ "$final_code" -eq 127 ] || code=$final_code
    [ -z "$ended_itself" ] || was_ended_for_us || verdict=
  elif [ -n "$timer" ] && [ "$code" -gt 128 ] && ! read_usage; then
    # only the timer was killed: its child must not outlive the record
    retry_fork kill_job "$mark" none "$kill_grace" ''
  fi
  jobs >&4
}

# was_ended_for_us: whether the job was ended by others because this process did not react.
was_ended_for_us() { [ -s "$scratch/deadline" ] || { [ -e "$SJ_CANCEL" ] && [ "$code" -gt 128 ]; }; }

# command_ended: not if only the timer was killed, as by a scheduler that signals all processes of a job.
command_ended() {
  ! process_start "$command_pid" || return
  [ -z "$timer" ] || read_usage || { job_known='' && job_processes "$mark" none && [ -z "$job_known" ]; }
}

# end_command: kills the job, unless the command has ended at the same moment.
end_command() {
  term_grace=$kill_grace
  if [ "$verdict" = terminated ] && [ -n "$warning_signal" ] && [ ! -e "$SJ_CANCEL" ] && [ ! -e "$scratch/warned" ]; then
    warn_before_term
  fi
  if retry_fork command_ended; then
    ended_itself=yes
    return
  fi
  command_group=$command_pid
  command_root=$command_pid
  process_start "$command_pid" || command_root=none
  retry_fork kill_job "$mark" "$command_root" "$term_grace" "$timer"
  kill_status=$?
  command_group='' strongest=${group_killed_by:-$strongest}
  [ "$kill_status" -eq 0 ] || { retry_fork name_survivors && reason="processes of the job could not be killed: $survivors"; }
  return "$kill_status"
}

# scheduler_code: the exit status for the scheduler. 99 and 100 would have Grid Engine run the job again, or hold it.
scheduler_code() { case $code in '' | 0 | 99 | 100) emit 1 ;; *) emit "$code" ;; esac }

# by its physical path, so that its processes are found by whatever path it is named later
cd -P "$dir" && dir=$PWD || exit 1
attempt=${dir##*/}
key=${dir%/*}
key=${key##*/}
# Only the command and its children have this in their environment; /log at its end distinguishes attempt 1 from 10. For
# grep a line break ends a pattern.
mark=SSHJOB_LOG=$dir/$SJ_LOG
mark=${mark##*"$newline"}
requeue=no missing_input='' project_input='' setup_shell='' setup_mark='' idle_limit='' log_limit='' log_action='' kept_aside=''
slots='' command_pid=''
# only here, as it may be deleted later
# shellcheck source=/dev/null
. "./$SJ_SPEC"
scratch=$SJ_SCRATCH
if ! claim_run; then
  # another supervisor has claimed the run, or none could: then the diagnostics have the error
  [ -e "$SJ_STARTED" ] || [ -e "$SJ_IDENTITY" ] || exit 1
  exit 0
fi
# kept open, see restore_log and find_supervisor
if true >>"$SJ_LOG"; then exec 5>>"$SJ_LOG"; fi
retry_fork measure_queue
reason='' code='' peak_memory='' started=''
retry_fork take_slots
now
[ -n "$reason" ] || started=$now
[ -n "$reason" ] || retry_fork link_trees
[ -n "$reason" ] || retry_fork unpack_project
[ -n "$reason" ] || [ -d "$working_directory" ] || reason="the working directory $working_directory does not exist"
[ -z "$missing_input" ] || reason="the input $missing_input was deleted before the command started"
[ -n "$reason" ] || retry_fork each_output prepare_output
retry_fork prepare_setup
interpreter
read -r timer <"$lib/timer"
[ -x "$timer" ] || timer=
find_setsid
# created here with umask 077, because time(1) runs with the user's
true >"$scratch/usage"
# of an earlier run of the same attempt, see `requeue`
[ ! -e "$scratch/$SJ_REASON" ] || rm -rf "${scratch:?}/$SJ_REASON"
if true >"$scratch/notices"; then exec 4>>"$scratch/notices"; else exec 4>/dev/null; fi
[ -n "$reason" ] || [ -z "$nice$ionice$memory_kib$cpu_quota" ] || retry_fork prepare_gentle

if [ -z "$reason" ]; then
  retry_fork start_command
  [ -r /proc/self/stat ] || retry_fork describe_child
  [ -z "$time_limit$idle_limit$log_limit${scheduler_id:+$warning_signal}" ] || retry_fork start_watchdog
  await_command
  read_cgroup
  read_setup_mark
  [ -z "$watchdog_pid" ] || stop_watchdog
else
  code=126
  [ -z "$verdict" ] || code=143
  emit "luigi_sshjob: $reason" >&5
fi

retry_fork release_slots
known_reason=$reason
retry_fork restore_directory
retry_fork decide_outcome
count_cpu 2>/dev/null
record_outcome || exit 1
tell_watchers
[ -z "$kept_aside" ] || remove_tree "$scratch/$SJ_KEPT"
[ -z "$cgroup" ] || retry_fork end_cgroup
# for the scheduler's own records, and for jobs that depend on this one (sbatch --dependency=afterok:…)
[ -z "$scheduler_id" ] || [ "$outcome" = succeeded ] || exit "$(scheduler_code)"
