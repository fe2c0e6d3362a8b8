# shellcheck shell=sh disable=SC2034,SC2154
# Whether an attempt lives: the only place that decides it; docs/job.rst has the table of the rules. Nothing is called
# dead because something is missing, or because two texts differ.

# read_identity FILE: sets the variables job_* to the fields of an identity, or to nothing.
read_identity() {
  job_pid='' job_start='' job_machine='' job_boot='' job_booted='' job_hardware='' job_oom_kills='' job_scheduled=''
  job_command='' job_waits=''
  bounded "$1"
  while read -r field value; do
    case $field in
      pid:) job_pid=$value ;;
      start:) job_start=$value ;;
      machine:) job_machine=$value ;;
      boot:) job_boot=$value ;;
      booted:) job_booted=$value ;;
      hardware:) job_hardware=$value ;;
      oom_kills:) job_oom_kills=$value ;;
      scheduler_id:) job_scheduled=$value ;;
      command:) job_command=$value ;;
      waits:) job_waits=$value ;;
    esac
  done <"$bounded"
}

# compare_machines: sets $relation of the machine of the identity to this one: same, restarted (it is this machine,
# before its last boot) or other. Host names decide nothing: two machines may have the same one, and one may change its
# own.
compare_machines() {
  relation=other job_root=${job_boot#*.} own_root=${boot#*.}
  if [ "${job_boot%%.*}" = "${boot%%.*}" ]; then
    # The same kernel. The start of process 1, which differs between containers, is compared only if both know it.
    if [ "$job_root" = "$own_root" ] || [ "$job_root" = - ] || [ "$own_root" = - ] || [ "$job_root" = "$job_boot" ]; then
      hardware_differs || relation=same
    elif same_hardware && [ "${job_root%??}" -le "${own_root%??}" ] 2>/dev/null; then
      # only a container can restart while the kernel runs
      case $hardware in *' - '*) ;; *) relation=restarted ;; esac
    fi
  elif same_hardware; then
    [ -n "${boot_time-}" ] || boot_time
    # the same boot may seem to differ by a second
    if [ "$job_booted" -lt "$((boot_time - 1))" ] 2>/dev/null; then relation=restarted; fi
  fi
}

# same_hardware: whether the identity is of this machine for certain. A machine id alone may be that of an image.
same_hardware() {
  [ "$job_hardware" = "$hardware" ] || return 1
  case $hardware in *' - -') return 1 ;; esac
}

# hardware_differs: whether machine ids or containers are known, and differ. Addresses may change while a machine runs.
hardware_differs() {
  # shellcheck disable=SC2086
  set -- $job_hardware $hardware
  [ $# -eq 6 ] || return 1
  { [ "$1" != - ] && [ "$4" != - ] && [ "$1" != "$4" ]; } || { [ "$2" != - ] && [ "$5" != - ] && [ "$2" != "$5" ]; }
}

# identity_state DIR FILE: as job_state, of an attempt whose supervisor has the identity in FILE.
identity_state() {
  read_identity "$2"
  compare_machines
  if [ "$relation" = other ]; then
    job_state=elsewhere job_reason="it was started on ${job_machine:-another machine}; this host is $machine"
    [ "$job_machine" != "$machine" ] ||
      job_reason="it was started on another machine, or in another container, of the name $machine"
  elif [ "$relation" = restarted ]; then
    lost_unless_ended "$1" "the host was restarted while the job was running"
  elif [ -n "$job_pid" ] && process_start "$job_pid" && [ "$start" = "$job_start" ]; then
    supervisor_state "$1"
  elif leftovers_live "$1"; then
    job_state=unsupervised job_reason="the supervisor (process $job_pid) died; the command is still running"
    job_began=$job_start
  else
    lost_unless_ended "$1" "the supervisor (process $job_pid) died without writing an exit record"
    [ "$job_state" != lost ] || explain_loss "$1"
  fi
}

# supervisor_state DIR: of an attempt whose supervisor lives.
supervisor_state() {
  job_state=running job_began=$job_start
  if [ -n "$job_waits" ]; then
    if [ -z "$job_command" ]; then
      job_state=queued job_reason="waits for $job_waits"
      return
    fi
    job_began=${job_command##* }
  fi
  [ -n "$job_command" ] && ! command_exists && privately unwritable "$1" || return 0
  job_state=unknown job_reason="the command has ended, but no exit record can be written to $1: $why"
  ! ended "$1" || job_state=ended
}

# command_exists: whether the command in $job_command does, perhaps as a zombie: then its supervisor is about to notice.
command_exists() {
  if [ -e /proc/self/stat ]; then [ -e "/proc/${job_command%% *}/stat" ]; else process_start "${job_command%% *}"; fi
}

# process_state DIR: as job_state, from processes alone, for an attempt without an identity; fails if there are none.
process_state() {
  job_command=''
  if find_supervisor "$1"; then
    job_state=running job_reason='' job_began=$job_start
  elif leftovers_live "$1"; then
    job_state=unsupervised job_reason="files in $1 were deleted; the command is still running"
  else
    return 1
  fi
}

# attempt_lives DIR: whether it runs on this machine, whatever was deleted of its directory.
attempt_lives() {
  job_state=
  if [ -s "$1/$SJ_IDENTITY" ]; then identity_state "$1" "$1/$SJ_IDENTITY"; else process_state "$1"; fi
  case $job_state in running | queued | unsupervised | unknown) ;; *) return 1 ;; esac
}

# leftovers_live DIR: whether processes of the attempt are left; succeeds also if that cannot be determined. They are
# looked for twice, because a process can be missed while another one is starting it.
leftovers_live() { command_lives || may_run "$1" || command_lives || may_run "$1"; }

# find_supervisor DIR [STARTING]: sets $job_pid and $job_start to those of its supervisor, found by its arguments; fails
# if it does not run. With STARTING also one that has not claimed the run yet. One that has keeps its log open.
find_supervisor() {
  [ -r /proc/self/stat ] || return 1
  supervised_base=${1%/*/*/*}
  supervised=${1#"$supervised_base"}
  supervisors=$(grep -lzs -- "$supervised\$" /proc/[0-9]*/cmdline)
  for found in $supervisors; do
    job_pid=${found#/proc/} job_pid=${job_pid%/cmdline} arguments=
    # without the NULs, which no shell keeps
    { read -r arguments <"$found"; } 2>/dev/null
    case $arguments in *"/supervise.sh/"*"$supervised"*) ;; *) continue ;; esac
    arguments=${arguments#*/supervise.sh}
    # the base directory may have been named by another path
    # shellcheck disable=SC3013
    [ "${arguments%"$supervised"*}" = "$supervised_base" ] || [ "${arguments%"$supervised"*}" -ef "$supervised_base" ] ||
      continue
    # its time limit's process has the same arguments, but not the log
    [ -n "${2-}" ] || [ -e "/proc/$job_pid/fd/5" ] || continue
    ! process_start "$job_pid" || { job_start=$start && return; }
  done
  return 1
}

# may_run DIR: whether a process has the attempt's mark, or that cannot be determined.
may_run() { marks_of "$1/$SJ_LOG" && marker_in_use "$marks"; }

marker_in_use() { ! pids_with_marker "$1" || [ -n "$marked_pids" ]; }

# marks_of PATH: sets $marks to the beginnings of the marks of its processes: it may have been named by a symbolic link
# now and by its physical path then.
marks_of() {
  physical_path "$1"
  marks=SSHJOB_LOG=$1
  # for grep a line break ends a pattern
  marks=${marks##*"$newline"}
  [ "$physical" = "$1" ] || marks=$marks${newline}SSHJOB_LOG=${physical##*"$newline"}
}

# physical_path PATH: sets $physical to it without symbolic links in its directories; it may have been deleted.
physical_path() {
  existing=${1%/*} below=/${1##*/}
  until [ -d "$existing/" ] || [ "$existing" = "${existing%/*}" ]; do below=/${existing##*/}$below existing=${existing%/*}; done
  physical=$(cd -P "$existing/" && pwd -P) || physical=$existing
  physical=${physical%/}$below
}
