# shellcheck shell=sh disable=SC2034,SC2154
# Launches the supervisors of claimed attempts.

SJ_DETACH='' SJ_COUNTED=''

# job_relaunch BASE HASH DIR [NUMBER [BATCH]]: launches a claimed attempt again whose supervisor has not started; with a
# scheduler only if NUMBER was the last submission, and from then on in arrays of at most BATCH jobs. Responds with a part
# "unwritable" if no supervisor could, or does nothing but respond with a part "uninstalled".
job_relaunch() {
  library=$1/lib/$2 SJ_HASH=$2 SJ_SUBMIT_COUNT=$((SJ_SUBMIT_COUNT + 1))
  has_scripts "$library" || {
    part uninstalled 0
    return 0
  }
  [ -z "${5-}" ] || {
    read_launch "$3"
    [ "$launch_batch" = "$5" ] || emit "batch: $5" >>"$3/$SJ_LAUNCH"
  }
  if privately unwritable "$3"; then
    part unwritable 0
    emit "the job directory is not writable: $3: $why"
  fi
  privately launch_again "$3" "${4:-0}"
}

# launch_again DIR [NUMBER]: unless its run was claimed, or it is found running although the files that say so were deleted.
launch_again() {
  [ ! -e "$1/$SJ_STARTED" ] && [ ! -e "$1/$SJ_IDENTITY" ] && [ ! -s "$1/$SJ_RECORD" ] && ! was_started "$1" || return 0
  ! mark_found_run "$1" && ! find_supervisor "$1" starting && ! may_run "$1" || return 0
  launch_job "$@"
}

# was_started DIR: whether a supervisor was about to claim the run, or has claimed it, and the files that say which were
# deleted.
was_started() {
  for candidate in "$1/$SJ_IDENTITY".*; do
    [ ! -e "$candidate" ] || return 1
  done
  for reserve in "$1/$SJ_SCRATCH/$SJ_RECORD".*; do
    [ ! -s "$reserve" ] || return 0
  done
  return 1
}

# mark_found_run DIR: marks the run as claimed if there are processes that prove that it was; fails otherwise.
mark_found_run() {
  find_supervisor "$1" || { marks_of "$1/$SJ_LOG" && pids_with_marker "$marks" && [ -n "$marked_pids" ]; } || return
  claim_run_marker "$1" || return 0
}

# launch_job DIR [NUMBER]: with the launcher of its claim. A scheduler gets it unless there is a later submission.
launch_job() {
  if [ -s "$1/$SJ_LAUNCH" ]; then schedule "$1" "${2:-0}"; else launch_nohup "$1"; fi
}

# recent_oom_kills: as oom_kills, at most a second old. In dash each count needs about 2,000 reads of a byte, too many
# for each of many jobs.
recent_oom_kills() {
  uptime=
  [ ! -r /proc/uptime ] || read -r uptime _ </proc/uptime
  if [ "${uptime%%.*}" != "$SJ_COUNTED" ] || [ -z "$uptime" ]; then
    oom_kills
    SJ_COUNTED=${uptime%%.*} SJ_OOM_KILLS=$oom_kills
  fi
  oom_kills=$SJ_OOM_KILLS
}

# launch_nohup DIR: starts the supervisor so that it outlives this session.
launch_nohup() { { detach /bin/sh ${BASH_VERSION+-p} "$library/supervise.sh" "$1" "$SJ_UMASK"; } 2>>"$1/$SJ_DIAGNOSTICS"; }

# launch_many DIR...: that for several, by a small shell: to fork this one costs more, and one setsid(1) is enough.
launch_many() {
  # shellcheck disable=SC2016  # expanded by that shell
  detach /bin/sh ${BASH_VERSION+-p} -c '
    script=$1 user_umask=$2 diagnostics=$3
    shift 3
    for dir; do /bin/sh ${BASH_VERSION+-p} "$script" "$dir" "$user_umask" 2>>"$dir/$diagnostics" & done
  ' sh "$library/supervise.sh" "$SJ_UMASK" "$SJ_DIAGNOSTICS" "$@" 2>/dev/null
}

# detach COMMAND [ARGUMENT]...: with what supervisors need in the environment. All three files of the process are redirected,
# because sshd keeps a session open while a process has one of them.
detach() {
  [ -n "$SJ_DETACH" ] || {
    SJ_DETACH='nohup'
    ! command -v setsid >/dev/null 2>&1 || SJ_DETACH=setsid
    boot_time
  }
  recent_oom_kills
  {
    LC_ALL=$SJ_LC_ALL
    [ -n "$LC_ALL" ] || unset LC_ALL
    SSHJOB_MACHINE=$machine SSHJOB_BOOT=$boot SSHJOB_BOOT_TIME=$boot_time SSHJOB_HARDWARE=$hardware
    SSHJOB_OOM_KILLS=$oom_kills
    export SSHJOB_MACHINE SSHJOB_BOOT SSHJOB_BOOT_TIME SSHJOB_HARDWARE SSHJOB_OOM_KILLS
    # without the descriptors of news.sh
    exec "$SJ_DETACH" "$@" 6<&- 7<&- 8<&- 9<&-
  } </dev/null >/dev/null &
}
