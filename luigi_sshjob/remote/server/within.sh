# shellcheck shell=sh disable=SC2034,SC2154
# Time limits for commands of the host that may never respond.

SJ_LIMITED=0

# within SECONDS COMMAND [ARGUMENT]...: if it takes longer, ends it with all processes that it has started, and fails with
# 124. No limit without /proc, where a zombie looks like a running process.
within() {
  within_pauses=${1}0 SJ_LIMITED=$((SJ_LIMITED + 1)) within_self=$$
  # several processes of this session may count; with the slash at its end no other mark begins with it
  [ ! -r /proc/self/stat ] || read -r within_self _ </proc/self/stat
  within_mark=SSHJOB_LIMITED=$SJ_SELF.$within_self.$SJ_LIMITED/
  shift
  [ -r /proc/self/stat ] || {
    "$@"
    return
  }
  {
    SSHJOB_LIMITED=${within_mark#*=}
    export SSHJOB_LIMITED
    "$@"
  } &
  within_pid=$!
  sleep 0.02 2>/dev/null
  while process_start "$within_pid"; do
    [ "$within_pauses" -gt 0 ] || {
      kill_job "$within_mark" "$within_pid" 1 ''
      # one that waits in the kernel, for a dead mount, does not end
      process_start "$within_pid" || wait "$within_pid" 2>/dev/null
      return 124
    }
    pause
    within_pauses=$((within_pauses - 1))
  done
  wait "$within_pid"
}
