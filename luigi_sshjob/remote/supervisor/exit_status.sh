# shellcheck shell=sh disable=SC2034,SC2154
# Exit code, signal, CPU time and peak memory of the command.

# read_usage: sets $peak_memory (KiB) and $signal_number from the output of the timer; fails if there is none.
read_usage() {
  peak_memory='' signal_number=''
  [ -r "$scratch/usage" ] || return 1
  while read -r usage_line; do
    case $usage_line in
      *' terminated by signal '*) signal_number=${usage_line##* } ;;
      *[!0-9]* | '') ;;
      *) peak_memory=$usage_line ;;
    esac
  done <"$scratch/usage"
  [ -n "$peak_memory" ]
}

# classify_exit: sets $signal to the name of the signal that ended the command, and $doubt if that is unknown. In the
# status of `wait` 137 may be a signal or an exit code.
classify_exit() {
  signal='' doubt=''
  if [ -z "$command_pid" ]; then
    # a signal has ended the wait for slots
    [ -z "$verdict" ] || signal=TERM
  elif [ -n "$timer" ] && read_usage; then
    # some timers exit with the number of the signal
    [ -z "$signal_number" ] || { code=$((128 + signal_number)) && name_signal; }
  elif [ "$code" -gt 128 ]; then
    signal_number=$((code - 128))
    parse_shell_notice
    [ "$ended_by" = 'exit' ] || name_signal
    if [ "$ended_by" = unknown ]; then
      doubt="exit code $code may mean signal $signal: the shell of this host does not report it"
      signal=
    fi
  fi
}

# parse_shell_notice: sets $ended_by to exit, signal or unknown from the notice that the shell printed about its first
# background job: "[1] + Done(137)" or "[1] + Killed" in dash and busybox, "Killed" or nothing in bash and mksh. For
# some signals each of them prints nothing.
parse_shell_notice() {
  ended_by=unknown
  [ -r "$scratch/notices" ] || return 0
  while read -r notice; do
    case $notice in
      '[1]'*"Done($code)"*) ended_by='exit' && return ;;
      '[1]'* | [!\[]*) ended_by=signal ;;
    esac
  done <"$scratch/notices"
  [ "$ended_by" = unknown ] || return 0
  case $(kill -l "$signal_number" 2>/dev/null) in INT | PIPE | TERM | USR1) ;; *) ended_by='exit' ;; esac
}

# name_signal: sets $signal from $signal_number; to the number if the shell has no name for it.
name_signal() {
  signal=$(kill -l "$signal_number" 2>/dev/null)
  case $signal in *[!A-Z0-9+-]* | [0-9]* | '') signal=$signal_number ;; esac
}

# count_cpu: sets $cpu_time to the user and system time of the command and of all that it waited for: the second line
# of `times`, which is about children.
count_cpu() {
  cpu_time=
  # in braces: a failing redirection of a special builtin would end the shell
  { times; } >"$scratch/times" && {
    read -r _
    read -r cpu_time
  } <"$scratch/times"
}
