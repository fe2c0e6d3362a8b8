# shellcheck shell=sh disable=SC2034,SC2154
# Runs the commands of a scheduler and reports what they print. They are lines of shell that the client sends, and that
# `launchers/` describes; nothing here knows a scheduler. Each has a time limit.

# what has begun so far, so that a client knows what was asked after what
SJ_MOMENT=0

# where this session keeps the answers; set by the first question
SJ_ANSWERS=''

# drop_variables PATTERN...: unsets variables of the account that change what a command does.
drop_variables() {
  # shellcheck disable=SC2013  # a name is one word
  for variable in $(awk 'BEGIN { for (name in ENVIRON) print name }' </dev/null); do
    for pattern; do
      # shellcheck disable=SC2254  # a pattern
      case $variable in $pattern) unset "$variable" 2>/dev/null ;; esac
    done
  done
}

# run_line LINE DROPPED: runs a command without the variables that match one of the patterns in DROPPED.
run_line() {
  set -f
  # shellcheck disable=SC2086
  drop_variables $2
  set +f
  eval "shift 2; $1"
}

# answer FILE SECONDS HEADER LINE DROPPED [ARGUMENT]...: writes HEADER, a line "status: N" ("-" after the time limit),
# and the lines that the command has printed, after an "o" or an "e" for standard output or error. FILE appears whole.
answer() {
  answer_file=$1 answer_limit=$2 answer_header=$3
  shift 3
  within "$answer_limit" run_line "$@" >"$answer_file.stdout" 2>"$answer_file.stderr" </dev/null
  answer_status=$?
  [ "$answer_status" -ne 124 ] || answer_status=-
  {
    [ -z "$answer_header" ] || emit "$answer_header"
    emit "status: $answer_status"
    # awk, because sed may leave a last line without its newline
    awk '{ print "o" $0 }' "$answer_file.stdout" && awk '{ print "e" $0 }' "$answer_file.stderr"
  } >"$answer_file.new" && mv -f "$answer_file.new" "$answer_file"
  rm -f "$answer_file.stdout" "$answer_file.stderr" "$answer_file.new"
}

# scheduler_answers BASE SCHEDULER INTERVAL DROPPED LISTING QUERY HISTORY KNOWN_LISTING KNOWN_QUERY KNOWN_HISTORY [ID]...:
# has the scheduler asked for its listing, and for these ids by QUERY and HISTORY, each not more often than every INTERVAL
# seconds for all clients together. Responds with the last answers, unless they began before or at the moment that the
# client knows, each in a part "KIND MOMENT SECONDS" with the time since it was asked for, and with a part
# "due 0 SECONDS SESSION" for the next request. The commands run in the background, so that none delays another request.
scheduler_answers() {
  sweep "$1"
  [ -d "${SJ_ANSWERS%/*}" ] || {
    [ -d "$1/lib" ] || return 0
    SJ_ANSWERS=$1/lib/.look.$SJ_SELF
  }
  due=$3
  query_file=$SJ_ANSWERS.$2. scheduler=$2 interval=$3 dropped=$4 line_listing=$5 line_query=$6 line_history=$7
  known_listing=$8 known_query=$9 known_history=${10}
  shift 10
  seconds_up
  for asked; do
    for kind in query history; do
      eval "ids=\${ids_${kind}_$scheduler-}"
      case " $ids " in *" $asked "*) ;; *) eval "ids_${kind}_$scheduler=\"\${ids:+\$ids }\$asked\"" ;; esac
    done
  done
  for kind in listing query history; do
    eval "line=\$line_$kind known=\$known_$kind"
    [ -z "$line" ] || ask "$kind" "$known"
  done
  part due 0 "$due $SJ_SELF"
}

# ask KIND KNOWN: takes an answer that has arrived, asks again if that is due, and responds with the last answer.
ask() {
  asked=${1}_$scheduler
  eval "running=\${running_$asked-} begun=\${begun_$asked--1000} pause=\${pause_$asked-$interval}"
  eval "answered=\${answered_$asked-0} answer_begun=\${answer_begun_$asked-0} ids=\${ids_$asked-}"
  if [ -n "$running" ] && [ -e "$query_file$1.$running" ]; then
    mv -f "$query_file$1.$running" "$query_file$1" && answered=$running answer_begun=$begun
    running=
    back_off "$1"
  elif [ -n "$running" ] && [ "$seconds" -ge $((begun + 150)) ]; then
    # what should have written it was killed
    running=
  fi
  if [ -z "$running" ] && [ "$seconds" -ge $((begun + pause)) ] && { [ "$1" = listing ] || [ -n "$ids" ]; }; then
    SJ_MOMENT=$((SJ_MOMENT + 1)) running=$SJ_MOMENT begun=$seconds
    {
      trap - EXIT
      umask 077
      answer "$query_file$1.$running" 60 "${ids:+ids: $ids}" "$line" "$dropped"
    } </dev/null >/dev/null 2>&1 &
    eval "ids_$asked="
  fi
  eval "running_$asked=\$running begun_$asked=\$begun pause_$asked=\$pause"
  eval "answered_$asked=\$answered answer_begun_$asked=\$answer_begun"
  if [ -n "$running" ]; then
    due=1
  elif { [ "$1" = listing ] || [ -n "$ids" ]; } && [ $((begun + pause - seconds)) -lt "$due" ]; then
    due=$((begun + pause - seconds))
  fi
  [ "$answered" -gt "$2" ] || return 0
  part "$1" "$answered" "$((seconds - answer_begun))"
  cat "$query_file$1"
}

# back_off KIND: doubles the pause up to eight times the interval while the command fails. A query for ids fails also for
# those that do not exist.
back_off() {
  while read -r shown; do
    case $shown in
      'status: 0') pause=$interval && return ;;
      'status: '*) break ;;
    esac
  done <"$query_file$1"
  [ "$1" = query ] || [ "$pause" -ge $((interval * 8)) ] || pause=$((pause * 2))
}

# scheduler_call BASE SECONDS LINE DROPPED IDS: runs a command for the jobs with these ids; in a session of its own, as it takes
# time.
scheduler_call() {
  sweep "$1"
  call_answer=$1/lib/.look.$SJ_SELF.call ids=$5
  privately answer "$call_answer" "$2" '' "$3" "$4"
  part answer 0
  show "$call_answer"
}

# scheduler_start SECONDS LINE DROPPED IDS: does that in the background, and ignores what is printed.
scheduler_start() {
  ids=$4
  {
    trap - EXIT
    within "$1" run_line "$2" "$3"
  } </dev/null >/dev/null 2>&1 &
}
