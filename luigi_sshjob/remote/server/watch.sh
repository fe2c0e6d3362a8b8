# shellcheck shell=sh disable=SC2034,SC2154
# One look at many jobs, with builtins alone for those that have nothing new to say. A watch has a number that whoever
# asks has given it; it is armed, tells once, and is armed again with what was understood.

SJ_WATCHES='' SJ_WATCHED_BASES=0 SJ_LOOKS=0 SJ_TURN=0

# how many logs are read in one look, so that none of them keeps the others waiting
SJ_READS=4

# watch_arm NUMBER DIR BLOCK STATE MORE: a look tells when the job's state is not STATE, when its progress has changed,
# and when its log has more behind that block of 1 KiB; MORE is yes where that is known. Blocks are counted by whoever
# asks: numbers end at 2 GiB in mksh.
watch_arm() {
  case " $SJ_WATCHES " in
    *" $1 "*) ;;
    *)
      SJ_WATCHES="$SJ_WATCHES $1"
      watched_base "${2%/jobs/*}"
      eval "dir_$1=\$2 base_$1=$watched_base log_$1=yes progress_$1=yes pid_$1= seen_log_$1= seen_progress_$1="
      ;;
  esac
  eval "block_$1=\$3 known_$1=\$4 armed_$1=yes"
  [ "$5" != yes ] || eval "log_$1=yes"
}

# watch_drop NUMBER...: nobody asks about these any more.
watch_drop() {
  for dropped; do
    kept=
    for watch in $SJ_WATCHES; do
      [ "$watch" = "$dropped" ] || kept="$kept $watch"
    done
    SJ_WATCHES=$kept
    eval "set -- \"\${seen_log_$dropped-}\" \"\${seen_progress_$dropped-}\""
    [ -z "$1$2" ] || rm -f "$1" "$2"
    unset "dir_$dropped" "base_$dropped" "log_$dropped" "progress_$dropped" "pid_$dropped" "start_$dropped" \
      "block_$dropped" "known_$dropped" "armed_$dropped" "reason_$dropped" \
      "standing_$dropped" "was_$dropped" "why_$dropped" "seen_log_$dropped" "seen_progress_$dropped"
  done
}

# watched_base BASE: sets $watched_base to its number.
watched_base() {
  watched_base=0
  while [ "$watched_base" -lt "$SJ_WATCHED_BASES" ]; do
    eval "[ \"\$watched_base_$watched_base\" != \"\$1\" ]" || return 0
    watched_base=$((watched_base + 1))
  done
  SJ_WATCHED_BASES=$((SJ_WATCHED_BASES + 1))
  eval "watched_base_$watched_base=\$1"
  sweep "$1"
}

# watch_look: parts for each armed watch that has something to tell, as of poll_job.
watch_look() {
  ask_when_due
  privately stamp_bases
  SJ_TURN=$(((SJ_TURN + 1) % 8))
  reads=$SJ_READS
  quiet='' told=''
  for watch in $SJ_WATCHES; do
    eval "watched=\$dir_$watch base=\$base_$watch armed=\$armed_$watch"
    eval "since=\$since_$base seen_log=\$seen_log_$watch seen_progress=\$seen_progress_$watch"
    # What was written since the last look has a time that is not before that look's stamp. A network file system may show
    # it only later, or have another clock: there it has another time than when $watch was told of it.
    # shellcheck disable=SC3013  # -nt is in dash, bash, busybox, mksh and in POSIX since 2024
    if ! [ "$since" -nt "$watched/$SJ_LOG" ] || { [ -n "$seen_log" ] && [ "$watched/$SJ_LOG" -nt "$seen_log" ]; }; then
      eval "log_$watch=yes"
    fi
    # shellcheck disable=SC3013
    if ! [ "$since" -nt "$watched/$SJ_PROGRESS" ] ||
      { [ -n "$seen_progress" ] && [ "$watched/$SJ_PROGRESS" -nt "$seen_progress" ]; }; then
      eval "progress_$watch=yes"
    fi
    if [ "$armed" = yes ] && look_at "$watched"; then
      told="$told $watch"
    else
      quiet="$quiet $watch"
    fi
  done
  # who was told of something comes last the next time
  SJ_WATCHES=$quiet$told
}

# remember KIND FILE: its time, before $watch is told of it; nothing where that cannot be kept to the last digit.
remember() {
  eval "seen=\$watched_base_$base/lib/.look.\$SJ_SELF.$1$watch seen_$1_$watch="
  # shellcheck disable=SC3013
  privately touch -r "$2" "$seen" 2>/dev/null && ! [ "$2" -nt "$seen" ] && eval "seen_$1_$watch=\$seen"
}

# stamp_bases: sets $since_N to the file that was written at the last look, and writes another one. Where that is not
# possible everything counts as new.
stamp_bases() {
  SJ_LOOKS=$((1 - SJ_LOOKS))
  stamped=0
  while [ "$stamped" -lt "$SJ_WATCHED_BASES" ]; do
    eval "stamp=\$watched_base_$stamped/lib/.look.$SJ_SELF since=\${next_since_$stamped-}"
    eval "since_$stamped=\$since"
    { emit x >"$stamp.$SJ_LOOKS"; } 2>/dev/null || stamp=/nowhere
    eval "next_since_$stamped=\$stamp.$SJ_LOOKS"
    stamped=$((stamped + 1))
  done
}

# look_at DIR: tells of $watch if there is anything; fails where not.
look_at() {
  eval "known=\$known_$watch new_log=\$log_$watch new_progress=\$progress_$watch"
  watched_state "$1"
  [ "$new_log" = yes ] && [ -s "$1/$SJ_LOG" ] && [ "$reads" -gt 0 ] || [ "$job_state" = ended ] || new_log=
  [ "$new_progress" = yes ] && [ -s "$1/$SJ_PROGRESS" ] || new_progress=
  eval "reason=\${reason_$watch-}"
  [ "$job_state" = "$known" ] && [ "$job_reason" = "$reason" ] && [ -z "$new_log$new_progress" ] && return 1
  eval "reason_$watch=\$job_reason"
  eval "armed_$watch= block=\$block_$watch"
  # the first that is written to one that is empty is new whatever its time
  [ ! -s "$1/$SJ_PROGRESS" ] || eval "progress_$watch="
  if [ -n "$new_log" ] || [ "$job_state" != "$known" ]; then
    [ ! -s "$1/$SJ_LOG" ] || eval "log_$watch="
    reads=$((reads - 1))
  else
    block=-
  fi
  if [ "$job_state" != ended ]; then
    [ "$block" = - ] || [ ! -s "$1/$SJ_LOG" ] || remember log "$1/$SJ_LOG"
    [ -z "$new_progress" ] || remember progress "$1/$SJ_PROGRESS"
  fi
  job_index=$watch
  tell_job "$1" "$block"
}

# watched_state DIR: as job_state; of one that was seen running, or is with a scheduler that has said nothing new, it asks
# only whether that has changed. Whether the
# process of that number is still the same, or nobody has waited for, takes a read, so it is asked less often.
watched_state() {
  eval "pid=\$pid_$watch start_known=\${start_$watch-}"
  if [ -n "$pid" ] && [ ! -e "$1/$SJ_RECORD" ] && [ -e "$1/$SJ_STARTED" ] && [ -e "/proc/$pid/stat" ] &&
    { [ "$SJ_TURN" -gt 0 ] || { process_start "$pid" && [ "$start" = "$start_known" ]; }; }; then
    job_state=running job_reason='' job_began=$start_known
    return
  fi
  scheduled_standing "$1"
  eval "standing_known=\${standing_$watch-}"
  if [ -n "$standing" ] && [ "$standing" = "$standing_known" ]; then
    eval "job_state=\$was_$watch job_reason=\$why_$watch job_began="
    SJ_WANTED=yes
    return
  fi
  job_state "$1"
  [ -z "$standing" ] || eval "standing_$watch=\${steady:+\$standing} was_$watch=\$job_state why_$watch=\$job_reason"
  [ "$job_state" != running ] || [ ! -e /proc/self/stat ] || eval "pid_$watch=\$job_pid start_$watch=\$job_start"
}
