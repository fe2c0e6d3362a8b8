# shellcheck shell=sh disable=SC2034,SC2154
# Subscriptions to changes of jobs. One request polls many of them, with builtins only for unchanged jobs. The client
# numbers its subscriptions. Each notifies once, then is renewed with the state that the client has received.
#
# Most polls look only at jobs that may change soon: those whose end was told, see news.sh, those that were subscribed just
# now, and those that have changed lately. So they cost little with any number of jobs. A poll of all jobs, now and then,
# finds the rest: a supervisor that died, or the next line of a log that was silent for long.

# recent jobs as NUMBER:POLLS, the polls for which they remain so
SJ_SUBSCRIPTIONS=' ' SJ_RECENT=' ' SJ_WATCHED_BASES=0

# logs to read in one poll, so that a response is not delayed by many; and those of ended jobs, so that it does not become
# too large
SJ_READS=4 SJ_LAST_READS=20
# polls without a change after which a job does not count as recent: one that has written to its log, and another one
SJ_ATTENTION=8 SJ_BRIEFLY=3

# subscribe NUMBER DIR NAME BLOCK STATE MORE: notifies when the job's state is not STATE, when its progress changes, and
# when its log grows beyond that block of 1 KiB; MORE is yes if it is known to have. The client counts the blocks, because
# numbers end at 2 GiB in mksh. NAME is that of news.sh.
subscribe() {
  case $SJ_SUBSCRIPTIONS in
    *" $1 "*) load_job "$1" ;;
    *)
      SJ_SUBSCRIPTIONS="$SJ_SUBSCRIPTIONS$1 "
      watch_base "${2%/jobs/*}"
      eval "dir_$1=\$2"
      number=$1 watched=$2
      load_fields "$watched_base" 0 - - - all yes yes - - - - - - -
      name_news "$1" "$3"
      ;;
  esac
  block=$4 known=${5:--} subscribed=yes
  [ "$6" != yes ] || new_log=yes
  attend
}

# attend: has the next polls look at job $number, the first of them whatever seems unchanged.
attend() {
  attended=yes
  learn_unsteady
  [ "$series" != all ] || { series=new && SJ_RECENT="$SJ_RECENT$number:$SJ_BRIEFLY "; }
  save_job
}

# unsubscribe NUMBER...: drops subscriptions.
unsubscribe() {
  for dropped; do
    case $SJ_SUBSCRIPTIONS in *" $dropped "*) ;; *) continue ;; esac
    SJ_SUBSCRIPTIONS="${SJ_SUBSCRIPTIONS%%" $dropped "*} ${SJ_SUBSCRIPTIONS#*" $dropped "}"
    case $SJ_RECENT in
      *" $dropped:"*)
        after=${SJ_RECENT#*" $dropped:"}
        SJ_RECENT="${SJ_RECENT%%" $dropped:"*} ${after#* }"
        ;;
    esac
    load_job "$dropped"
    for kind in log progress; do
      name_seen "$kind"
      eval "[ \"\$seen_$kind\" = - ]" || rm -f "$seen"
    done
    forget_news "$dropped"
    unset "dir_$dropped" "fields_$dropped" "version_$dropped" "why_$dropped" "reason_$dropped"
    unset -f "is_steady_$dropped"
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
  # first, for other sessions that sweep
  stamped=$watched_base stamp_base=$1
  privately write_stamp recent
  privately open_news "$watched_base"
}

# poll_subscriptions SERIES: looks at the recent jobs, or at "all"; responds with the parts of write_status for each
# changed one.
poll_subscriptions() {
  hear_news
  privately stamp_bases "$1"
  use_stamps recent
  reads=$SJ_READS notified='' polled=$SJ_RECENT measurable=$SJ_RECENT SJ_RECENT=' '
  for entry in $polled; do
    load_job "${entry%:*}"
    attention=${entry#*:}
    poll_job
  done
  if [ "$1" = all ]; then
    measurable=''
    use_stamps all
    for entry in $SJ_SUBSCRIPTIONS; do
      # this line is all that a silent job costs
      "is_steady_$entry" && continue
      load_job "$entry"
      attention=0
      [ "$series" != all ] || poll_job
    done
  fi
  SJ_RECENT="$SJ_RECENT$notified"
}

# stamp_bases SERIES: sets $since_recent_N to the stamp that the last poll wrote to base directory N, for a poll of all also
# $since_all_N to that of the last such poll, and writes others. Without a stamp each file counts as changed.
stamp_bases() {
  stamped=0
  while [ "$stamped" -lt "$SJ_WATCHED_BASES" ]; do
    eval "stamp_base=\$watched_base_$stamped"
    is_private "$stamp_base" || stamp_base=/nowhere
    write_stamp recent
    [ "$1" != all ] || write_stamp all
    stamped=$((stamped + 1))
  done
}

# write_stamp SERIES: for base directory number $stamped, which is $stamp_base. Two files in turn, for each series.
write_stamp() {
  eval "last_stamp=\${next_$1_$stamped-}"
  eval "since_$1_$stamped=\$last_stamp"
  case $last_stamp in *1) stamp=0 ;; *) stamp=1 ;; esac
  stamp=$stamp_base/lib/.look.$SJ_SELF.$1$stamp
  { emit x >"$stamp"; } 2>/dev/null || stamp=/nowhere
  eval "next_$1_$stamped=\$stamp"
}

# use_stamps SERIES: sets $since_N to the stamp of base directory N, for `is_steady_NUMBER`.
use_stamps() {
  stamped=0
  while [ "$stamped" -lt "$SJ_WATCHED_BASES" ]; do
    eval "since_$stamped=\$since_$1_$stamped"
    stamped=$((stamped + 1))
  done
}

# poll_job: looks at the loaded job, and decides whether the next poll does, too. Those just notified come last then.
poll_job() {
  again='' used_series=$series
  if "is_steady_$number"; then
    :
  elif look_at_job "$watched"; then
    used_series='' attended=- attention=$SJ_BRIEFLY
    learn_unsteady
    # who writes to the log does so again
    [ "$shown_block" = - ] || [ ! -s "$watched/$SJ_LOG" ] || attention=$SJ_ATTENTION
    # an ended job has no other notification
    [ "$job_state" != ended ] || attention=1
  else
    case $attended$again in -) ;; *) attention=$SJ_BRIEFLY ;; esac
    used_series='' attended=-
    learn_unsteady
    if [ "$subscribed" = yes ] && may_be_steady && is_supervised "$watched"; then learn_steady; fi
  fi
  if [ "$attention" -gt 1 ]; then
    series=recent
    if [ "$subscribed" = yes ]; then
      SJ_RECENT="$SJ_RECENT$number:$((attention - 1)) "
    else
      notified="$notified$number:$((attention - 1)) "
    fi
  else
    series=all
  fi
  [ "$series" = "$used_series" ] || save_job
}

may_be_steady() { [ "$job_state" = running ] || [ "$job_state" = queued ]; }

# set_since: sets $since to the stamp of the last poll that has looked at the job.
set_since() {
  case $series in
    recent) eval "since=\$since_recent_$base" ;;
    *) eval "since=\$since_all_$base" ;;
  esac
}

# look_at_job DIR: responds with the status of the job if it has changed and is subscribed; fails otherwise.
look_at_job() {
  set_since
  ! may_be_new log "$1/$SJ_LOG" || new_log=yes
  ! may_be_new progress "$1/$SJ_PROGRESS" || new_progress=yes
  [ "$subscribed" = yes ] && notify_change "$1"
}

# may_be_new KIND FILE: whether it was written since the stamp in $since, or what it will contain was not seen.
may_be_new() {
  # shellcheck disable=SC3013  # -nt is in dash, bash, busybox, mksh and in POSIX since 2024
  ! [ -s "$2" ] || ! [ "$since" -nt "$2" ] || is_later "$1" "$2"
}

# notify_change DIR: responds with the status of the job if it has changed; fails otherwise. The first write to an empty file
# is a change whatever its time.
notify_change() {
  watched_state "$1"
  [ "$job_state" != claimed ] || again=yes
  log_changed='' progress_changed=''
  [ "$new_log" != yes ] || [ ! -s "$1/$SJ_LOG" ] || log_changed=yes
  [ "$new_progress" != yes ] || [ ! -s "$1/$SJ_PROGRESS" ] || progress_changed=yes
  if [ "$job_state" != ended ] && [ "$reads" -le 0 ] && [ -n "$log_changed" ]; then log_changed='' again=yes; fi
  eval "reason=\${reason_$number-}"
  if [ "$job_state" = ended ] && [ "$reads" -le $((SJ_READS - SJ_LAST_READS)) ] && [ -s "$1/$SJ_LOG" ]; then
    again=yes
    return 1
  fi
  [ "$job_state" != "$known" ] || [ "$job_reason" != "$reason" ] || [ -n "$log_changed$progress_changed" ] || return
  [ "$job_reason" = "$reason" ] || eval "reason_$number=\$job_reason"
  subscribed=- shown_block=-
  [ ! -s "$1/$SJ_PROGRESS" ] || new_progress=-
  if [ -n "$log_changed" ] || [ "$job_state" != "$known" ]; then
    [ ! -s "$1/$SJ_LOG" ] || new_log=-
    reads=$((reads - 1)) shown_block=$block
  fi
  if [ "$job_state" != ended ]; then
    [ "$shown_block" = - ] || [ ! -s "$1/$SJ_LOG" ] || remember log "$1/$SJ_LOG"
    [ -z "$progress_changed" ] || remember progress "$1/$SJ_PROGRESS"
  fi
  job_index=$number
  write_status "$1" "$shown_block"
}
