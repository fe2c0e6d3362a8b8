# shellcheck shell=sh disable=SC2034,SC2154
# Subscriptions to changes of jobs. One request polls all of them, with builtins only for unchanged jobs. The client
# numbers its subscriptions. Each notifies once, then is renewed with the state that the client has received.

SJ_SUBSCRIPTIONS='' SJ_WATCHED_BASES=0 SJ_STAMP=0 SJ_TURN=0

# logs to read in one poll, so that a response is not delayed by many
SJ_READS=4

# subscribe NUMBER DIR BLOCK STATE MORE: notifies when the job's state is not STATE, when its progress changes, and when
# its log grows beyond that block of 1 KiB; MORE is yes if it is known to have. The client counts the blocks, because
# numbers end at 2 GiB in mksh.
subscribe() {
  case " $SJ_SUBSCRIPTIONS " in
    *" $1 "*) ;;
    *)
      SJ_SUBSCRIPTIONS="$SJ_SUBSCRIPTIONS $1"
      watch_base "${2%/jobs/*}"
      eval "dir_$1=\$2 base_$1=$watched_base log_$1=yes progress_$1=yes pid_$1= seen_log_$1= seen_progress_$1="
      ;;
  esac
  eval "block_$1=\$3 known_$1=\$4 subscribed_$1=yes"
  [ "$5" != yes ] || eval "log_$1=yes"
}

# unsubscribe NUMBER...: drops subscriptions.
unsubscribe() {
  for dropped; do
    kept=
    for number in $SJ_SUBSCRIPTIONS; do
      [ "$number" = "$dropped" ] || kept="$kept $number"
    done
    SJ_SUBSCRIPTIONS=$kept
    eval "set -- \"\${seen_log_$dropped-}\" \"\${seen_progress_$dropped-}\""
    [ -z "$1$2" ] || rm -f "$1" "$2"
    for variable in dir base block known subscribed log progress seen_log seen_progress pid start command version was why \
      reason measured; do
      unset "${variable}_$dropped"
    done
  done
}

# watch_base BASE: sets $watched_base to the number of that base directory.
watch_base() {
  watched_base=0
  while [ "$watched_base" -lt "$SJ_WATCHED_BASES" ]; do
    eval "[ \"\$watched_base_$watched_base\" != \"\$1\" ]" || return 0
    watched_base=$((watched_base + 1))
  done
  SJ_WATCHED_BASES=$((SJ_WATCHED_BASES + 1))
  eval "watched_base_$watched_base=\$1"
  sweep "$1"
}

# poll_subscriptions: responds with the parts of write_status for each changed job.
poll_subscriptions() {
  privately stamp_bases
  SJ_TURN=$(((SJ_TURN + 1) % 8))
  reads=$SJ_READS
  unchanged='' notified=''
  for number in $SJ_SUBSCRIPTIONS; do
    eval "watched=\$dir_$number base=\$base_$number subscribed=\$subscribed_$number"
    eval "since=\$since_$base seen_log=\$seen_log_$number seen_progress=\$seen_progress_$number"
    # A file that was written since the last poll is not older than that poll's stamp. On a network file system it may
    # appear later or have another clock; then its time differs from the one at the last notification.
    # shellcheck disable=SC3013  # -nt is in dash, bash, busybox, mksh and in POSIX since 2024
    if ! [ "$since" -nt "$watched/$SJ_LOG" ] || { [ -n "$seen_log" ] && [ "$watched/$SJ_LOG" -nt "$seen_log" ]; }; then
      eval "log_$number=yes"
    fi
    # shellcheck disable=SC3013
    if ! [ "$since" -nt "$watched/$SJ_PROGRESS" ] ||
      { [ -n "$seen_progress" ] && [ "$watched/$SJ_PROGRESS" -nt "$seen_progress" ]; }; then
      eval "progress_$number=yes"
    fi
    if [ "$subscribed" = yes ] && notify_change "$watched"; then
      notified="$notified $number"
    else
      unchanged="$unchanged $number"
    fi
  done
  # those just notified come last in the next poll
  SJ_SUBSCRIPTIONS=$unchanged$notified
}

# remember KIND FILE: keeps the file's time at a notification; nothing if it cannot be kept to the last digit.
remember() {
  eval "seen=\$watched_base_$base/lib/.look.\$SJ_SELF.$1$number seen_$1_$number="
  # shellcheck disable=SC3013
  privately touch -r "$2" "$seen" 2>/dev/null && ! [ "$2" -nt "$seen" ] && eval "seen_$1_$number=\$seen"
}

# stamp_bases: sets $since_N to the stamp that the last poll wrote to base directory N, and writes another one. Without
# a stamp each file counts as changed.
stamp_bases() {
  SJ_STAMP=$((1 - SJ_STAMP))
  stamped=0
  while [ "$stamped" -lt "$SJ_WATCHED_BASES" ]; do
    eval "stamp=\$watched_base_$stamped/lib/.look.$SJ_SELF since=\${next_since_$stamped-}"
    eval "since_$stamped=\$since"
    eval "is_private \"\$watched_base_$stamped\"" && { emit x >"$stamp.$SJ_STAMP"; } 2>/dev/null || stamp=/nowhere
    eval "next_since_$stamped=\$stamp.$SJ_STAMP"
    stamped=$((stamped + 1))
  done
}

# notify_change DIR: responds with the status of job $number if it has changed; fails otherwise.
notify_change() {
  eval "known=\$known_$number new_log=\$log_$number new_progress=\$progress_$number"
  watched_state "$1"
  [ "$new_log" = yes ] && [ -s "$1/$SJ_LOG" ] && [ "$reads" -gt 0 ] || [ "$job_state" = ended ] || new_log=
  [ "$new_progress" = yes ] && [ -s "$1/$SJ_PROGRESS" ] || new_progress=
  eval "reason=\${reason_$number-}"
  [ "$job_state" = "$known" ] && [ "$job_reason" = "$reason" ] && [ -z "$new_log$new_progress" ] && return 1
  eval "reason_$number=\$job_reason"
  eval "subscribed_$number= block=\$block_$number"
  # the first write to an empty file is a change whatever its time
  [ ! -s "$1/$SJ_PROGRESS" ] || eval "progress_$number="
  if [ -n "$new_log" ] || [ "$job_state" != "$known" ]; then
    [ ! -s "$1/$SJ_LOG" ] || eval "log_$number="
    reads=$((reads - 1))
  else
    block=-
  fi
  if [ "$job_state" != ended ]; then
    [ "$block" = - ] || [ ! -s "$1/$SJ_LOG" ] || remember log "$1/$SJ_LOG"
    [ -z "$new_progress" ] || remember progress "$1/$SJ_PROGRESS"
  fi
  job_index=$number
  write_status "$1" "$block"
}

# watched_state DIR: as job_state, but for a running job, or one that waits for its scheduler, it checks only whether that
# has changed. Whether a process id was reused, or is a zombie, or the command has ended, takes a read: it
# is checked in one of eight polls.
watched_state() {
  eval "pid=\$pid_$number start_known=\${start_$number-} command=\${command_$number-}"
  if [ -n "$pid" ] && [ ! -e "$1/$SJ_RECORD" ] && [ -e "$1/$SJ_IDENTITY" ] && [ -e "/proc/$pid/stat" ] &&
    { [ "$SJ_TURN" -gt 0 ] || supervision_lasts; }; then
    eval "job_state=\$was_$number job_reason=\$why_$number job_began=\$start_known"
    return
  fi
  scheduled_version "$1"
  eval "version_known=\${version_$number-}"
  if [ -n "$version" ] && [ "$version" = "$version_known" ]; then
    eval "job_state=\$was_$number job_reason=\$why_$number job_began="
    return
  fi
  eval "measured=\${measured_$number- }"
  is_measured "$1" || measure_subscribed
  job_state "$1"
  eval "was_$number=\$job_state why_$number=\$job_reason"
  [ -z "$version" ] || eval "version_$number=\${cacheable:+\$version}"
  # unknown: the supervisor cannot write its record
  case $job_state in running | unknown) ;; *) return ;; esac
  [ ! -e /proc/self/stat ] || [ -z "$job_began" ] ||
    eval "pid_$number=\$job_pid start_$number=\$job_start command_$number=\${job_command%% *}"
}

# supervision_lasts: whether the same supervisor and its command run.
supervision_lasts() {
  [ -n "$command" ] && process_start "$command" && process_start "$pid" && [ "$start" = "$start_known" ]
}
