# shellcheck shell=sh disable=SC2034,SC2154
# The far end of a remote shell: a `sh -s` that has been sent these functions answers one call after the
# other. $SJ_TOKEN, which the other side made up, marks what is an answer, so that nothing else that prints
# (an rc file, a job's log) can be taken for one. Nothing here may read standard input: that is the script.

# own_umask: sets $SJ_UMASK; proc(5) has told it since Linux 4.7.
own_umask() {
  SJ_UMASK=
  [ ! -r "/proc/$$/status" ] || while read -r status_name status_value; do
    case $status_name in Umask:) SJ_UMASK=$status_value && return ;; esac
  done <"/proc/$$/status"
  SJ_UMASK=$(umask)
}

# measure_uptime: sets $SJ_UPTIME and $SJ_START to the same moment, in seconds of two clocks: a container may count its
# uptime from its own start, and the start of its processes from that of the machine. By a child that is as young as that.
measure_uptime() {
  SJ_START=$(process_start self && emit "$start")
  # of hundredths on all but two machines of the past; without an end to cut off there is no Linux
  SJ_UPTIME='' SJ_START=${SJ_START%??}
  case $SJ_START in '' | *[!0-9]*) ;; *) read -r SJ_UPTIME _ </proc/uptime && SJ_UPTIME=${SJ_UPTIME%%.*} ;; esac
}

# seconds_since START: sets $passed to the seconds since a process began, see process_start; fails where they are not known.
seconds_since() {
  [ -n "$1" ] && [ -n "$SJ_UPTIME" ] && read -r uptime _ </proc/uptime || return
  passed=$((${uptime%%.*} - SJ_UPTIME + SJ_START - ${1%??}))
  [ "$passed" -ge 0 ]
}

unset CDPATH ENV
IFS=' 	
'
# a job is launched with the account's own, see launch_nohup
SJ_LC_ALL=${LC_ALL-}
LC_ALL=C
export LC_ALL
# begins a line of its own whatever was printed before, in one write
SJ_MARK=$newline$SJ_TOKEN
own_umask
machine_identity
SJ_MACHINE=$machine SJ_BOOT=$boot
measure_uptime
# names what only this session uses, so that others can tell when it is nobody's any more
process_start $$
SJ_SELF=$machine.$$.$start
SJ_SWEPT=$newline
trap 'leave' EXIT

# sweep BASE: removes there, once, what sessions that were killed have left, and remembers where this one may leave things.
sweep() {
  case $SJ_SWEPT in *"$newline$1$newline"*) return 0 ;; esac
  SJ_SWEPT=$SJ_SWEPT$1$newline
  for leftover in "$1"/lib/.stage."$SJ_MACHINE".* "$1"/lib/.look."$SJ_MACHINE".*; do
    whose=${leftover##*/.*."$SJ_MACHINE".}
    [ -e "$leftover" ] || continue
    process_start "${whose%%.*}" || start=
    case $whose. in "${whose%%.*}.$start."*) ;; *) rm -rf "$leftover" ;; esac
  done
}

# leave: nothing of this session stays.
leave() {
  while [ "$SJ_SWEPT" != "$newline" ]; do
    SJ_SWEPT=${SJ_SWEPT#"$newline"}
    swept=${SJ_SWEPT%%"$newline"*}
    SJ_SWEPT=${SJ_SWEPT#"$swept"}
    rm -rf "$swept/lib/.stage.$SJ_SELF" "$swept/lib/.look.$SJ_SELF".*
  done
}

# serve REQUEST VERB [ARGUMENT]...: one call; its status stands behind the answer.
serve() {
  request=$1
  shift
  "$@" </dev/null 2>&1
  emit "$SJ_MARK end $request $?"
}

# part KIND INDEX [VALUE]: begins a part of an answer; what follows up to the next mark is its content.
part() { emit "$SJ_MARK part $1 $2 ${3-}"; }

# refuse CODE TEXT: reports that a verb cannot do its work, and fails. Programs branch on CODE, people read TEXT; as a part
# of the response neither can be mistaken for what a program has printed before, the dynamic linker for example.
refuse() {
  part refused 0 "$1"
  emit "$2"
  return 1
}

# privately VERB [ARGUMENT]...: with an umask that makes files private.
privately() {
  umask 077
  "$@"
  verb_status=$?
  umask "$SJ_UMASK"
  return "$verb_status"
}

# show FILE: its lines, without starting a process.
show() {
  while IFS= read -r shown || [ -n "$shown" ]; do emit "$shown"; done <"$1"
}

# echo_back TEXT: is anybody there.
echo_back() { emit "$1"; }
