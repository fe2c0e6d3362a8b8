# shellcheck shell=sh disable=SC2034,SC2154
# Queries a scheduler for the states of all its jobs together, and not more often than a site accepts.

SJ_SCHEDULER='' SJ_WANTED='' SJ_HISTORY='' SJ_NO_HISTORY=''
SJ_QUERIES=0 SJ_QUERY='' SJ_NEXT_QUERY=0 SJ_BACKOFF=1 SJ_LISTING=0 SJ_ROWS='' SJ_QUERY_ERROR=''

# query_when_due: in the background, for the jobs that were looked at since the last query.
query_when_due() {
  submit_waiting
  [ -n "$SJ_WANTED$SJ_QUERY" ] || return 0
  seconds_up
  [ -z "$SJ_QUERY" ] || finish_query
  [ -n "$SJ_WANTED" ] && [ -z "$SJ_QUERY" ] && [ "$seconds" -ge "$SJ_NEXT_QUERY" ] || return 0
  SJ_QUERIES=$((SJ_QUERIES + 1)) SJ_QUERY=$SJ_QUERY_BASE/lib/.look.$SJ_SELF.query$SJ_QUERIES SJ_QUERIED=$seconds SJ_WANTED=''
  SJ_NEXT_QUERY=$((seconds + interval)) SJ_QUERIED_HISTORY=$SJ_HISTORY SJ_HISTORY=''
  {
    trap - EXIT
    umask 077
    # the history last, because it knows more about its jobs
    { "${SJ_SCHEDULER}_list" && emit listed && [ -n "$SJ_QUERIED_HISTORY" ] &&
      "${SJ_SCHEDULER}_history" "$SJ_QUERIED_HISTORY" &&
      emit remembered; } >"$SJ_QUERY.new" 2>"$SJ_QUERY.stderr"
    mv "$SJ_QUERY.new" "$SJ_QUERY"
  } </dev/null >/dev/null 2>&1 &
}

# finish_query: reads the listing if it has arrived. A query times out after two minutes.
finish_query() {
  if [ -e "$SJ_QUERY" ]; then
    read_listing
  elif [ $((seconds - SJ_QUERIED)) -lt 120 ]; then
    return
  else
    query_failed "no response within two minutes"
  fi
  rm -f "$SJ_QUERY" "$SJ_QUERY.stderr" "$SJ_QUERY.new"
  SJ_QUERY=''
}

read_listing() {
  complete=''
  while read -r row; do
    case $row in listed | remembered) complete="$complete $row" ;; esac
  done <"$SJ_QUERY"
  case $complete in
    ' listed'*) ;;
    *)
      stderr=
      while read -r shown || [ -n "$shown" ]; do stderr=$shown; done <"$SJ_QUERY.stderr"
      query_failed "$stderr"
      return
      ;;
  esac
  SJ_QUERY_ERROR='' SJ_BACKOFF=1 SJ_LISTING=$SJ_QUERIES
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
      # the accounting may be out of date
      "${SJ_SCHEDULER}_kind" "${row%%\|*}"
      [ "$kind" = ended ] || continue
    fi
    eval "${table}_$row_id=\$row"
  done <"$SJ_QUERY"
  [ -z "$SJ_QUERIED_HISTORY" ] || case $complete in *remembered*) ;; *) SJ_NO_HISTORY=yes ;; esac
}

# query_failed WHY: keeps the last listing, and backs off.
query_failed() {
  SJ_QUERY_ERROR=${1:-the listing was incomplete}
  [ "$SJ_BACKOFF" -ge 8 ] || SJ_BACKOFF=$((SJ_BACKOFF * 2))
  SJ_NEXT_QUERY=$((SJ_QUERIED + interval * SJ_BACKOFF)) SJ_WANTED=yes
  SJ_HISTORY=$SJ_QUERIED_HISTORY${SJ_HISTORY:+${SJ_QUERIED_HISTORY:+,}$SJ_HISTORY}
}

# await_query [DIR]...: for a single look at these jobs: waits a moment for a query if one is due.
await_query() {
  for looked; do
    if [ -s "$looked/$SJ_LAUNCH" ] && ! ended "$looked"; then job_state "$looked"; fi
  done
  pauses=0
  query_when_due
  while [ -n "$SJ_QUERY" ] && [ "$pauses" -lt 30 ]; do
    pause
    pauses=$((pauses + 1))
    query_when_due
  done
}
