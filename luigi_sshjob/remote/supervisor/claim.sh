# shellcheck shell=sh disable=SC2034,SC2154
# Claims the run of an attempt, and publishes who has claimed it. Runs in the job directory.

# claim_run: claims the run; fails if another supervisor has. The identity is written before, so that a supervisor that
# dies right after its claim is known, see unidentified_state. So is the space for the exit record reserved, as nothing
# may run whose end could not be recorded.
claim_run() {
  case $machine/$boot in /* | */) host_identity ;; esac
  [ -n "$hardware" ] || hardware_identity
  [ -n "$boot_time" ] || boot_time
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
  # until the command is published it waits for them, see supervisor_state
  [ -z "$slots" ] || identity="$identity
waits: $slots"
  identity="$identity
booted: $boot_time
hardware: $hardware"
  why=
  if emit "$identity" >"$SJ_IDENTITY.$$" && reserve_record && { claim_first_run || claim_rerun; }; then
    # on a full disk the copy, which exists, must do
    { emit "$identity" >"$SJ_IDENTITY"; } 2>/dev/null || mv -f "$SJ_IDENTITY.$$" "$SJ_IDENTITY"
    return 0
  fi
  # in this order, see was_started
  rm -f "$scratch/$SJ_RECORD.$$" "$scratch/$SJ_EXIT_CODE.$$" "$SJ_IDENTITY.$$"
  # only now, as it needs space
  [ -z "$why" ] || emit "no exit record could be written in $dir: $why" >&2
  return 1
}

# claim_first_run: an identity means that the run was claimed before, even if the mark was deleted.
claim_first_run() { [ ! -e "$SJ_IDENTITY" ] && [ ! -e "$SJ_RECORD" ] && claim_run_marker .; }

# claim_rerun: claims another run of an attempt that the scheduler has requeued, if the task allows that.
claim_rerun() {
  [ "$requeue" = yes ] && [ "$restarts" -gt 0 ] && [ ! -e "$SJ_RECORD" ] && [ ! -e "$SJ_CANCEL" ] || return 1
  known_id=
  { while read -r field known; do [ "$field" != scheduler_id: ] || known_id=$known; done <"$SJ_IDENTITY"; } 2>/dev/null
  [ "$known_id" = "$scheduler_id" ] || return 1
  # not every scheduler counts them
  restarts=1
  while [ -e "$SJ_STARTED.$restarts" ]; do restarts=$((restarts + 1)); done
  claim_run_marker . ".$restarts" && rm -f "$SJ_UNSETTLED"
}

# publish_command: adds $job_command to the identity, and to its copy if there is one.
publish_command() {
  emit "command: $job_command" >>"$dir/$SJ_IDENTITY" || return
  [ ! -e "$dir/$SJ_IDENTITY.$$" ] || emit "command: $job_command" >>"$dir/$SJ_IDENTITY.$$"
}

# measure_queue: sets $queue_time to the seconds from the submission of a scheduler's job to its first start; to nothing if
# that is unknown. Both times are those of the file system, because the clock of this node is not that of the login node.
measure_queue() {
  queue_time=
  [ -n "$scheduler_id" ] && find_stat || return 0
  # shellcheck disable=SC2046
  set -- $(stat "$flag" "$format" "$SJ_SPEC" "$SJ_STARTED" 2>/dev/null)
  [ $# -ne 4 ] || [ "$3" -lt "$1" ] || queue_time=$(($3 - $1))
}
