# shellcheck shell=sh disable=SC2034,SC2154
# The server in a remote shell: a `sh -s` reads these functions once, then serves requests one after the other.
# Responses are marked by $SJ_TOKEN, a random token of the client, so that no other output (of an rc file, or of a job)
# can be mistaken for one. Nothing here may read standard input, which is the script.

# measure_uptime: sets $SJ_UPTIME and $SJ_START to the same moment in seconds of two clocks: in a container the uptime
# may count from its own start, and the start times of processes from that of the machine. A new child has that start
# time.
measure_uptime() {
  SJ_START=$(process_start self && emit "$start")
  # in hundredths, as on all but two architectures; empty outside Linux
  SJ_UPTIME='' SJ_START=${SJ_START%??}
  case $SJ_START in '' | *[!0-9]*) ;; *) read -r SJ_UPTIME _ </proc/uptime && SJ_UPTIME=${SJ_UPTIME%%.*} ;; esac
}

# seconds_since START: sets $passed to the seconds since that start of a process, see process_start; fails if unknown.
seconds_since() {
  [ -n "$1" ] && [ -n "$SJ_UPTIME" ] && read -r uptime _ </proc/uptime || return
  passed=$((${uptime%%.*} - SJ_UPTIME + SJ_START - ${1%??}))
  # of a process that has just started, if a second began between the two measurements
  [ "$passed" -ne -1 ] || passed=0
  [ "$passed" -ge 0 ]
}

IFS=' 	
'
# jobs are launched with the account's own, see launch_nohup
SJ_LC_ALL=${LC_ALL-}
LC_ALL=C
export LC_ALL
# starts a new line whatever was printed before, in a single write
SJ_MARK=$newline$SJ_TOKEN
SJ_UMASK=$(umask)
host_identity
hardware_identity
measure_uptime
# of an rc file; see news.sh
exec 6<&- 7<&- 8<&- 9<&-
# part of the names of this session's files, so that others can tell when they are abandoned
process_start $$
SJ_SELF=$boot.$$.$start
SJ_SWEPT=$newline
trap 'leave' EXIT
# PIPE comes if the client closes the session during a response. Without a trap it would end the shell before the EXIT trap,
# or interrupt that.
trap 'trap - EXIT PIPE; leave; exit 141' PIPE

# sweep BASE: removes the files that killed sessions have left there, once for each base directory; those of sessions of
# another boot, which may be another machine, when they are a day old. This session may then create files there.
sweep() {
  case $SJ_SWEPT in *"$newline$1$newline"*) return 0 ;; esac
  is_private "$1" || return 0
  SJ_SWEPT=$SJ_SWEPT$1$newline
  for leftover in "$1"/lib/.stage.* "$1"/lib/.look.*; do
    owner=${leftover##*/.stage.} owner=${owner##*/.look.}
    [ -e "$leftover" ] || continue
    case $owner in
      "$boot".*) holder_lives "$owner" || remove_tree "$leftover" ;;
      # jobs write to it, so its time says nothing of its session
      *.news) [ -e "${leftover%news}recent0" ] || [ -e "${leftover%news}recent1" ] || rm -f "$leftover" ;;
      *) remove_old "$leftover" ;;
    esac
  done
}

# remove_old PATH: removes it unless it was changed within a day.
remove_old() { [ -z "$(find "$1" -prune -mtime +0)" ] || remove_tree "$1"; }

# leave: removes all files of this session.
leave() {
  end_limited
  while [ "$SJ_SWEPT" != "$newline" ]; do
    SJ_SWEPT=${SJ_SWEPT#"$newline"}
    swept=${SJ_SWEPT%%"$newline"*}
    SJ_SWEPT=${SJ_SWEPT#"$swept"}
    remove_tree "$swept/lib/.stage.$SJ_SELF"
    rm -rf "$swept/lib/.look.$SJ_SELF".*
  done
}

# serve REQUEST VERB [ARGUMENT]...: serves one request; the verb's exit status ends the response.
serve() {
  request=$1
  shift
  [ -z "$SJ_TO_SUBMIT$SJ_SUBMITTER" ] || submit_waiting
  { assert_safe "$@" && "$@"; } </dev/null 2>&1
  emit "$SJ_MARK end $request $?"
}

# part KIND INDEX [VALUE]: begins a part of the response; its content is the output up to the next mark.
part() { emit "$SJ_MARK part $1 $2 ${3-}"; }

# refuse CODE TEXT: reports an error and fails. Programs branch on CODE, people read TEXT. In a part of their own they
# cannot be mistaken for earlier output, for example of the dynamic linker.
refuse() {
  part refused 0 "$1"
  emit "$2"
  return 1
}

# privately VERB [ARGUMENT]...: runs it with a umask for private files.
privately() {
  umask 077
  "$@"
  verb_status=$?
  umask "$SJ_UMASK"
  return "$verb_status"
}

# show FILE: prints its lines with builtins only.
show() {
  bounded "$1"
  while IFS= read -r shown || [ -n "$shown" ]; do emit "$shown"; done <"$bounded"
}

# echo_back TEXT: for a client that checks whether the server responds.
echo_back() { emit "$1"; }
