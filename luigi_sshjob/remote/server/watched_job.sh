# shellcheck shell=sh disable=SC2034,SC2154
# What this session knows of one watched job; see watch.sh.

# What is known of a job is one variable, its fields in the order of load_fields, because dash and busybox find a variable
# among 15,000 slowly. "-" is an empty field.
number='' watched='' base='' block='' known='' subscribed='' attended='' series='' new_log='' new_progress='' seen_log=''
seen_progress='' pid='' start_known='' command='' was='' measured=''

load_job() {
  number=$1
  eval "watched=\$dir_$1; load_fields \$fields_$1"
}

load_fields() {
  base=$1 block=$2 known=$3 subscribed=$4 attended=$5 series=$6 new_log=$7 new_progress=$8 seen_log=$9
  shift 9
  seen_progress=$1 pid=$2 start_known=$3 command=$4 was=$5 measured=$6
}

save_job() {
  eval "fields_$number='$base $block $known $subscribed $attended $series $new_log $new_progress $seen_log $seen_progress $pid \
$start_known $command $was $measured'"
}

# watched_state DIR: as job_state, but for a running job, or one that waits for slots or its scheduler, it checks only
# whether that has changed.
watched_state() {
  if is_supervised "$1" && { [ "$was" != queued ] || [ -s "$1/$SJ_ENVIRONMENT" ]; }; then
    eval "job_state=\$was job_reason=\${why_$number-} job_began=\$start_known"
    return
  fi
  scheduled_version "$1"
  eval "version_known=\${version_$number-}"
  if [ -n "$version" ] && [ "$version" = "$version_known" ]; then
    eval "job_state=\$was job_reason=\${why_$number-} job_began="
    return
  fi
  is_measured "$1" || measure_watched
  job_state "$1"
  was=$job_state
  eval "why=\${why_$number-}"
  [ "$why" = "$job_reason" ] || eval "why_$number=\$job_reason"
  [ -z "$version" ] || eval "version_$number=\${cacheable:+\$version}"
  # unknown: the supervisor cannot write its record
  case $job_state in running | queued | unknown) ;; *) return ;; esac
  [ ! -e /proc/self/stat ] || [ -z "$job_began" ] || keep_processes
}

# keep_processes: of the running job. They are in a file that it may have damaged. One that waits for slots has no command
# yet; its environment is emptied just before it has one.
keep_processes() {
  pid=$job_pid start_known=$job_began command=${job_command%% *}
  [ "$job_state" != queued ] || command=$pid
  case $pid$start_known in *[!0-9]*) pid=- start_known=- ;; esac
  case $command in '' | *[!0-9]*) command=- ;; esac
}

# is_supervised DIR: whether the known supervisor and its command run. A supervisor keeps the log of its job open; neither a
# zombie nor another process with its number does.
is_supervised() {
  # shellcheck disable=SC3013  # -ef is in dash, bash, busybox, mksh and in POSIX since 2024
  [ "/proc/$pid/fd/5" -ef "$1/$SJ_LOG" ] && [ -e "/proc/$command/stat" ] && [ -e "$1/$SJ_IDENTITY" ] && [ ! -e "$1/$SJ_RECORD" ]
}

# learn_steady: defines is_steady_NUMBER for the loaded job: whether it still runs and has nothing new. A function that
# knows the job costs a fifth of one that loads it. It sets three of the loaded fields.
learn_steady() {
  tests="is_supervised \"\$watched\""
  [ "$was" != queued ] || tests="$tests && [ -s \"\$watched/$SJ_ENVIRONMENT\" ]"
  add_tests "$SJ_LOG" "$new_log" log "$seen_log"
  add_tests "$SJ_PROGRESS" "$new_progress" progress "$seen_progress"
  eval "is_steady_$number() { watched=\$dir_$number pid=$pid command=$command; $tests; }"
}

# add_tests FILE NEW KIND SEEN: that it is still empty, or that what was seen is there and was not written since the last
# poll.
#
# A file that was written since then is not older than that poll's stamp. On a network file system it may appear later or
# have another clock; then its time differs from the one at the last notification.
add_tests() {
  if [ "$2" = yes ]; then
    tests="$tests && [ ! -s \"\$watched/$1\" ]"
  else
    tests="$tests && [ -s \"\$watched/$1\" ] && [ \"\$since_$base\" -nt \"\$watched/$1\" ]"
    name_seen "$3"
    [ "$4" != yes ] || tests="$tests && ! [ \"\$watched/$1\" -nt \"$seen_word\" ]"
  fi
}

# learn_unsteady: until the next look at the job.
learn_unsteady() { eval "is_steady_$number() { return 1; }"; }

# name_seen KIND: sets $seen to the file that has the time of the log, or of the progress, at the last notification, and
# $seen_word to that as text for eval.
name_seen() {
  seen_word="\$watched_base_$base/lib/.look.\$SJ_SELF.$1$number"
  eval "seen=$seen_word"
}

# is_later KIND FILE: whether it was written since the last notification, as far as its time then is known.
is_later() {
  eval "[ \"\$seen_$1\" = yes ]" || return
  name_seen "$1"
  # shellcheck disable=SC3013
  [ "$2" -nt "$seen" ]
}

# remember KIND FILE: keeps the file's time at a notification; nothing if it cannot be kept to the last digit.
remember() {
  name_seen "$1"
  # shellcheck disable=SC3013
  if privately touch -r "$2" "$seen" 2>/dev/null && ! [ "$2" -nt "$seen" ]; then
    eval "seen_$1=yes"
  else
    eval "seen_$1=-"
  fi
}
