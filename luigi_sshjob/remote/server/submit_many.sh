# shellcheck shell=sh disable=SC2034,SC2154
# Several submissions in one request. Those of new tasks share one mkdir(1) and one mv(1); the others are served one after
# the other.

# submit_many REQUEST...: as job_submit for each REQUEST, which is its arguments, quoted. Responds with a part "request N"
# before the response to each, and a part "status N STATUS" after it.
submit_many() {
  planned='' moved='' plan_base='' many=0 many_status=0
  for asked; do
    eval "plan_submission $asked" && {
      eval "asked_$many=\$asked plan_key_$many=\$plan_key"
      planned="$planned $many"
    }
    many=$((many + 1))
  done
  # for a single one it would save nothing
  case ${planned# } in *' '*) privately claim_together ;; esac
  many=0
  for asked; do
    part request "$many"
    case "$moved " in
      *" $many "*) part claimed 1 && eval "emit \"\$plan_base/jobs/\$plan_key_$many/1\"" ;;
      *) eval "assert_safe job_submit $asked && job_submit $asked" ;;
    esac
    many_result=$?
    part status "$many" "$many_result"
    [ "$many_result" -eq 0 ] || many_status=1
    # it may have secrets
    unset "asked_$many" "plan_key_$many"
    many=$((many + 1))
  done
  return "$many_status"
}

# plan_submission BASE KEY LAUNCH HASH KNOWN …: whether it can be claimed together with the others: it is the first attempt
# of a task that the host does not know, and the cache has its inputs. Sets $plan_key.
plan_submission() {
  plan_key=$2 plan_note=$1/jobs/.used.$2
  [ -z "$plan_base" ] || [ "$plan_base" = "$1" ] || return
  [ "$3" = nohup ] && [ "$5" -eq 0 ] && [ ! -e "$1/jobs/$2" ] && [ ! -h "$1/jobs/$2" ] && [ ! -s "$plan_note" ] || return
  [ -d "$1/jobs" ] && ! is_new "$1/jobs" || return
  [ -n "$plan_base" ] || { is_private "$1" && has_scripts "$1/lib/$4"; } || return
  # the same task twice
  for planned_number in $planned; do
    eval "[ \"\$plan_key_$planned_number\" != \"\$2\" ]" || return
  done
  plan_base=$1
  shift 11
  while [ $# -gt 0 ]; do
    is_cached "$plan_base" "$1" || return
    shift 2
  done
}

# claim_together: claims those in $planned, see `claim`, and launches them; sets $moved to those that this session has
# claimed. What fails here is served, and refused, one by one.
claim_together() {
  base=$plan_base stage=$plan_base/lib/.stage.$SJ_SELF
  sweep "$base"
  set --
  for many in $planned; do
    eval "set -- \"\$@\" \"\$stage/\$plan_key_$many/1/\$SJ_SCRATCH\" \"\$stage/\$plan_key_$many/\$SJ_KEPT\""
  done
  mkdir -p "$@" && write_together && {
    set --
    for many in $planned; do
      eval "set -- \"\$@\" \"\$stage/\$plan_key_$many\""
    done
    # onto a directory that another client has created meanwhile it fails, as a rename does onto one that is not empty
    mv "$@" "$base/jobs/" 2>/dev/null
    for many in $planned; do
      eval "plan_key=\$plan_key_$many"
      [ -e "$stage/$plan_key" ] || moved="$moved $many"
    done
  }
  [ "$moved" = "$planned" ] || rm -rf "$stage"
  set --
  for many in $moved; do
    eval "set -- \"\$@\" \"\$base/jobs/\$plan_key_$many/1\""
  done
  [ $# -eq 0 ] || launch_many "$@"
}

write_together() {
  for many in $planned; do
    eval "asked=\$asked_$many"
    eval "write_planned $asked" || return
    # for a client that waits
    part planned "$many"
  done
}

# write_planned BASE KEY LAUNCH HASH KNOWN CHECKED DIGESTS SPEC COMMAND ENVIRONMENT SETUP [ENTRY NAME]...
write_planned() {
  written=$stage/$2/1 library=$base/lib/$4 SJ_HASH=$4 launch=$3
  emit 1 2>/dev/null >"$base/jobs/.used.$2" || true
  shift 6
  write_files "$written" "$@"
}
