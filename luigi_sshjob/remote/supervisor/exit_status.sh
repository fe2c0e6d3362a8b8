# shellcheck shell=sh disable=SC2034,SC2154
# How the command ended and what it used: exit code and signal apart, CPU time, memory.

# read_usage: sets $peak_memory (KiB) and $signal_number from what the timer wrote; fails where it has not.
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

# tell_ending: sets $signal to the name of the one that ended the command, and $doubt where that is not known. For a
# shell's `wait` both a signal and an exit code may be 137.
tell_ending() {
  signal='' doubt=''
  if [ -n "$timer" ] && read_usage; then
    # some timers exit with the bare number
    [ -z "$signal_number" ] || { code=$((128 + signal_number)) && name_signal; }
  elif [ "$code" -gt 128 ]; then
    signal_number=$((code - 128))
    shell_words
    case $ending in
      signal) name_signal ;;
      unknown)
        name_signal
        doubt="exit code $code may stand for signal $signal: the shell of this host does not say"
        signal=
        ;;
    esac
  fi
}

# shell_words: sets $ending to exit, signal or unknown from what the shell said of its first background job: dash and
# busybox "[1] + Done(137)" or "[1] + Killed", bash and mksh "Killed" or nothing, but for some signals nothing at all.
shell_words() {
  ending=unknown
  [ -r "$scratch/words" ] || return 0
  while read -r words; do
    case $words in
      '[1]'*"Done($code)"*) ending='exit' && return ;;
      '[1]'* | [!\[]*) ending=signal ;;
    esac
  done <"$scratch/words"
  [ "$ending" = unknown ] || return 0
  case $(kill -l "$signal_number" 2>/dev/null) in INT | PIPE | TERM | USR1) ;; *) ending='exit' ;; esac
}

# name_signal: sets $signal from $signal_number; to the number itself where the shell has no name for it.
name_signal() {
  signal=$(kill -l "$signal_number" 2>/dev/null)
  case $signal in *[!A-Z0-9+-]* | [0-9]* | '') signal=$signal_number ;; esac
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
