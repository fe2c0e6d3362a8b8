# shellcheck shell=sh disable=SC2034,SC2154
# The signals that control the supervisor, and the warning of a job before its end.

# on_term: only a scheduler that waits leaves the time for a warning.
on_term() {
  [ -e "$SJ_CANCEL" ] || terminated=yes
  { [ "$term_waits" = yes ] && [ -n "$terminated" ] && announce_end; } || verdict=${verdict:-terminated}
}

# on_limit: of this job, by the process that keeps it, or of the scheduler.
on_limit() {
  if [ -e "$scratch/deadline" ]; then
    if [ -n "$terminated" ]; then verdict=${verdict:-terminated}; else verdict=${verdict:-timed_out}; fi
  elif [ "$signals" = all ]; then
    ignored=yes
  else
    announce_end || verdict=${verdict:-timed_out}
  fi
}

# reset_signals: in a new process, which is not controlled by signals, but may receive those of the scheduler.
reset_signals() {
  trap - TERM USR1 USR2
  [ "$signals" != all ] || trap '' USR1 USR2
}

# announce_end: has the warning given at once, and the job ended after the time of the warning, as the scheduler is about
# to end it. Fails if that was done before, or cannot be done.
announce_end() {
  [ -z "$announced" ] && [ -n "$warning_signal" ] && [ -n "$watchdog_pid" ] || return
  announced=yes ignored=yes
  kill -s USR1 "$watchdog_pid" 2>/dev/null
}

# number_warning: sets $warning_number to that of the signal on this system.
number_warning() {
  warning_number=1
  until [ "$warning_number" -ge 32 ] || [ "$(kill -l "$warning_number")" = "$warning_signal" ]; do
    warning_number=$((warning_number + 1))
  done
}

# give_warning: sends the signal to those processes of the job that handle or block it, because others would be ended by
# it, such as a shell that waits for its program. Where that is unknown, all get it but the timer.
give_warning() {
  number_warning
  job_known=
  job_processes "$mark" "$command_pid" || return 0
  for known in $job_known; do
    [ "${known%%.*}" = "${timer:+$command_pid}" ] || ! handles_signal "${known%%.*}" "$warning_number" ||
      kill -s "$warning_signal" "${known%%.*}" 2>/dev/null
  done
  # not again if the scheduler ends the job
  true >"$scratch/warned"
}

# warn_before_term: where nobody leaves more time for it, the warning gets half of the time between TERM and KILL. Sets
# $term_grace to what is left of that time.
warn_before_term() {
  retry_fork give_warning
  rounds=0
  [ "$warning_time" -le $((kill_grace / 2)) ] || warning_time=$((kill_grace / 2))
  while [ "$rounds" -lt $((warning_time * 10)) ] && [ ! -e "$SJ_CANCEL" ] && ! retry_fork command_ended; do
    retry_fork pause
    rounds=$((rounds + 1))
  done
  term_grace=$((kill_grace - rounds / 10))
}

# handles_signal PID NUMBER: see SigBlk and SigCgt in proc(5).
handles_signal() {
  [ -r /proc/self/status ] || return 0
  handled=
  {
    while read -r field mask; do
      case $field in SigBlk: | SigCgt:) handled="$handled ${mask#"${mask%????????}"}" ;; esac
    done <"/proc/$1/status"
  } 2>/dev/null
  for mask in $handled; do
    [ $((0x$mask >> ($2 - 1) & 1)) -eq 0 ] || return 0
  done
  return 1
}
