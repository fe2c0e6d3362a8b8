# shellcheck shell=sh disable=SC2034,SC2154
# Time limits for questions about users' paths. On a mount whose server is gone every access blocks in the kernel, often
# so that no signal ends it. The question is then given up, and one process stays behind in the same place: until it has
# ended, further questions below the same directory fail at once.

SJ_STUCK='' SJ_STUCK_COUNT=0 SJ_TICKER='' SJ_TICKED='' SJ_QUESTIONS=0

# limited SECONDS VERB [ARGUMENT]...: runs the verb in a child, and refuses when that takes longer. The client sends these
# requests in a session of their own, where they delay no news of jobs.
limited() {
  limit=$1 question_verb=$2 first_path=$3
  shift 2
  # of many paths the verb reports each
  [ "$question_verb" = fs_exists_many ] || for asked; do
    ! is_stuck "$asked" || refuse_stuck "$asked" || return
  done
  # it never blocks, and has to be in this shell to have an effect
  [ "$question_verb" != stuck_path ] || {
    stuck_path "$1"
    return
  }
  start_ticker $(((limit + 3) / 4))
  SJ_QUESTIONS=$((SJ_QUESTIONS + 1))
  question_mark=SSHJOB_LIMITED=$SJ_SELF.question.$SJ_QUESTIONS/
  seconds_up
  asked_at=$seconds
  {
    trap - EXIT
    SSHJOB_LIMITED=${question_mark#*=}
    export SSHJOB_LIMITED
    "$question_verb" "$@"
  } &
  question=$!
  while :; do
    SJ_TICKED=
    wait "$question"
    answered=$?
    # otherwise the signal has ended the wait, not the child
    [ -n "$SJ_TICKED" ] && [ "$answered" -gt 128 ] || return "$answered"
    seconds_up
    [ $((seconds - asked_at)) -lt "$limit" ] || break
  done
  # a child that cannot be ended now ends when its mount is back, without another step
  kill -s KILL "$question" 2>/dev/null
  pids_with_marker "$question_mark"
  for asked in $marked_pids; do kill -s KILL "$asked" 2>/dev/null; done
  # of many paths the client knows which one did not respond, and names it with stuck_path
  [ "$question_verb" = fs_exists_many ] || for asked; do
    case $asked in */*) ! find_stuck "$asked" || refuse_stuck "$asked" || return ;; esac
  done
  refuse path-not-responding "the file system does not respond: $first_path"
  return 124
}

# start_ticker SECONDS: has a signal end each `wait` of this shell that long after the last one, while it lives.
start_ticker() {
  [ -z "$SJ_TICKER" ] || return 0
  trap 'SJ_TICKED=yes' USR1
  {
    trap - EXIT
    end_with_child
    while
      sleep "$1" &
      wait "$!" && holder_lives "$SJ_SELF"
    do kill -s USR1 $$; done
    # see end_with_child
    :
  } </dev/null >/dev/null 2>&1 &
  SJ_TICKER=$!
}

refuse_stuck() {
  refuse path-not-responding "the file system does not respond: $1 (nothing in ${stuck_directory:-/} can be reached)"
  return 124
}

absolute() { case $1 in /*) absolute=$1 ;; *) absolute=$PWD/$1 ;; esac }

# is_stuck PATH: whether it is below a directory that does not respond; sets $stuck_directory to that.
is_stuck() {
  [ -n "$SJ_STUCK" ] || return
  absolute "$1"
  for number in $SJ_STUCK; do
    stuck_lives "$number" || {
      forget_stuck "$number"
      continue
    }
    case $absolute/ in "$stuck_directory"/*) return 0 ;; esac
  done
  return 1
}

# stuck_lives NUMBER: whether the process $stuck still waits in $stuck_directory, and sets both.
stuck_lives() {
  eval "stuck_directory=\$stuck_directory_$1 stuck=\$stuck_pid_$1 start_known=\$stuck_start_$1"
  process_start "$stuck" && [ "$start" = "$start_known" ]
}

forget_stuck() {
  kept=
  for number in $SJ_STUCK; do [ "$number" = "$1" ] || kept="$kept $number"; done
  SJ_STUCK=$kept
}

# find_stuck PATH: looks for the highest directory on the way to it that does not respond, and leaves a process there.
find_stuck() {
  absolute "$1"
  stuck_directory='' below=${absolute#/}/
  # a name that no cache knows
  probe_name=.sshjob-probe.$SJ_SELF.$SJ_QUESTIONS
  while :; do
    look_at "$stuck_directory/$probe_name" </dev/null >/dev/null 2>&1 &
    probe=$!
    ! stays "$probe" || break
    [ -n "$below" ] || return
    stuck_directory=$stuck_directory/${below%%/*} below=${below#*/}
  done
  SJ_STUCK_COUNT=$((SJ_STUCK_COUNT + 1))
  SJ_STUCK="$SJ_STUCK $SJ_STUCK_COUNT"
  eval "stuck_directory_$SJ_STUCK_COUNT=\$stuck_directory stuck_pid_$SJ_STUCK_COUNT=\$probe"
  eval "stuck_start_$SJ_STUCK_COUNT=\$start"
}

look_at() { [ -e "$1" ]; }

# stays PID: whether it runs for half a second.
stays() {
  sleep 0.02 2>/dev/null
  probed=0
  while process_start "$1"; do
    [ "$probed" -lt 5 ] || return 0
    pause
    probed=$((probed + 1))
  done
  return 1
}

# end_limited: ends what is left of all questions; for the end of the session.
end_limited() {
  [ -z "$SJ_TICKER" ] || kill -s TERM "$SJ_TICKER" 2>/dev/null
  for number in $SJ_STUCK; do
    ! stuck_lives "$number" || kill -s KILL "$stuck" 2>/dev/null
  done
}

# stuck_path PATH: refuses if a directory on the way to it does not respond.
stuck_path() {
  if is_stuck "$1" || find_stuck "$1"; then refuse_stuck "$1"; fi
}
