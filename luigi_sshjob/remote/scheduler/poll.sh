# shellcheck shell=sh disable=SC2034,SC2154
# What a scheduler says of its jobs: one question for all of them, not more often than is polite.

SJ_SCHEDULER='' SJ_WANTED='' SJ_HISTORY='' SJ_NO_HISTORY=''
SJ_ASKS=0 SJ_ASKING='' SJ_NEXT_ASK=0 SJ_BACKOFF=1 SJ_TABLE=0 SJ_ROWS='' SJ_SILENCE=''

# ask_when_due: in the background, for whoever was looked at since the last time.
ask_when_due() {
  submit_waiting
  [ -n "$SJ_WANTED$SJ_ASKING" ] || return 0
  seconds_up
  [ -z "$SJ_ASKING" ] || take_answer
  [ -n "$SJ_WANTED" ] && [ -z "$SJ_ASKING" ] && [ "$seconds" -ge "$SJ_NEXT_ASK" ] || return 0
  SJ_ASKS=$((SJ_ASKS + 1)) SJ_ASKING=$SJ_ANSWERS/lib/.look.$SJ_SELF.asked$SJ_ASKS SJ_ASKED=$seconds SJ_WANTED=''
  SJ_NEXT_ASK=$((seconds + interval)) SJ_ASKED_HISTORY=$SJ_HISTORY SJ_HISTORY=''
  {
    trap - EXIT
    umask 077
    # the history last: it knows more of those that it is asked for
    { "${SJ_SCHEDULER}_list" && emit listed && [ -n "$SJ_ASKED_HISTORY" ] &&
      "${SJ_SCHEDULER}_history" "$SJ_ASKED_HISTORY" &&
      emit remembered; } >"$SJ_ASKING.new" 2>"$SJ_ASKING.said"
    mv "$SJ_ASKING.new" "$SJ_ASKING"
  } </dev/null >/dev/null 2>&1 &
}

# take_answer: if there is one yet. A scheduler that hangs is given two minutes.
take_answer() {
  if [ -e "$SJ_ASKING" ]; then
    read_answer
  elif [ $((seconds - SJ_ASKED)) -lt 120 ]; then
    return
  else
    answer_missing "it takes longer than two minutes"
  fi
  rm -f "$SJ_ASKING" "$SJ_ASKING.said" "$SJ_ASKING.new"
  SJ_ASKING=''
}

read_answer() {
  answered=''
  while read -r row; do
    case $row in listed | remembered) answered="$answered $row" ;; esac
  done <"$SJ_ASKING"
  case $answered in
    ' listed'*) ;;
    *)
      said=
      while read -r shown || [ -n "$shown" ]; do said=$shown; done <"$SJ_ASKING.said"
      answer_missing "$said"
      return
      ;;
  esac
  SJ_SILENCE='' SJ_BACKOFF=1 SJ_TABLE=$SJ_ASKS
  for row in $SJ_ROWS; do unset "row_$row"; done
  SJ_ROWS=''
  table=row
  while read -r row; do
    row_id=${row%%\|*}
    case $row_id in
      listed) table=past && continue ;;
      '' | *[!0-9A-Za-z_]* | "$row") continue ;;
    esac
    row=${row#*\|}
    if [ "$table" = row ]; then
      SJ_ROWS="$SJ_ROWS $row_id"
    else
      # the accounting may be behind
      "${SJ_SCHEDULER}_kind" "${row%%\|*}"
      [ "$kind" = over ] || continue
    fi
    eval "${table}_$row_id=\$row"
  done <"$SJ_ASKING"
  [ -z "$SJ_ASKED_HISTORY" ] || case $answered in *remembered*) ;; *) SJ_NO_HISTORY=yes ;; esac
}

# answer_missing WHY: what it said before stays; it is asked less and less often.
answer_missing() {
  SJ_SILENCE=${1:-it gave no answer}
  [ "$SJ_BACKOFF" -ge 8 ] || SJ_BACKOFF=$((SJ_BACKOFF * 2))
  SJ_NEXT_ASK=$((SJ_ASKED + interval * SJ_BACKOFF)) SJ_WANTED=yes
  SJ_HISTORY=$SJ_ASKED_HISTORY${SJ_HISTORY:+${SJ_ASKED_HISTORY:+,}$SJ_HISTORY}
}

# await_answer [DIR]...: for who looks once: where the scheduler may be asked again, its answer is worth a moment.
await_answer() {
  for looked; do
    if [ -s "$looked/$SJ_LAUNCH" ] && ! ended "$looked"; then job_state "$looked"; fi
  done
  awaited=0
  ask_when_due
  while [ -n "$SJ_ASKING" ] && [ "$awaited" -lt 30 ]; do
    pause
    awaited=$((awaited + 1))
    ask_when_due
  done
}
