# shellcheck shell=sh disable=SC2034,SC2154
# Claims attempts. All verbs are idempotent, and respond in parts, because anything may print a line in between, for example
# the dynamic linker.

SJ_NEW_BASES=$newline

# latest_attempt JOBS [MARK]: sets $latest to the highest number there, or 0; of the attempts without the MARK if it is
# given.
latest_attempt() {
  latest=0
  for found in "$1"/[0-9]*; do
    [ -z "${2-}" ] || [ ! -e "$found/$2" ] || continue
    found=${found##*/}
    case $found in *[!0-9]*) continue ;; esac
    [ "$found" -le "$latest" ] || latest=$found
  done
}

# job_submit BASE KEY LAUNCH HASH KNOWN CHECKED DIGESTS SPEC COMMAND ENVIRONMENT SETUP [ENTRY NAME]...: finds the attempt that
# was not collected, or claims and launches the next one, unless an attempt after number KNOWN was collected meanwhile.
# Responds with a part "claimed N" or "collected N" with the directory, or with "found N" with the directory and "digests N"
# (so also with "collected N" unless KNOWN is 0),
# or with "uninstalled", or with a part "lacking" for each ENTRY that the cache lacks, see cache.sh, or with
# "unchecked N MOMENT", with its directory and how it was submitted, if the directory of attempt N
# was deleted: the client then asks the scheduler, which may still have it, and repeats the request with N in CHECKED.
# The first line of LAUNCH names the launcher, the others are for the launcher. DIGESTS has a second line if the attempt is a
# retry, see jobs/previous.py.
job_submit() {
  base=$1 jobs=$1/jobs/$2 launch=$3 SJ_HASH=$4 library=$1/lib/$4 known_attempt=$5 checked=$6
  shift 6
  has_scripts "$library" || {
    part uninstalled 0
    return 0
  }
  sweep "$base"
  [ "$launch" = nohup ] || case $jobs in
    *"$newline"*) refuse directory-not-created "the path of the job directory has a line break: $jobs" || return ;;
  esac
  unchecked=''
  privately find_or_claim "$@" || [ -n "$unchecked" ]
}

find_or_claim() {
  own_directory "$base" || return 1
  if [ ! -d "$base/jobs" ]; then
    # a previous one may have been deleted while jobs ran
    own_directory "$base/jobs" || return 1
    # one look at all processes, instead of one for each task
    ! marks_of "$base/jobs/" || ! marker_in_use "$marks" || SJ_NEW_BASES="$SJ_NEW_BASES$base/jobs$newline"
  fi
  damaged=0
  while :; do
    latest_attempt "$jobs"
    dir=$jobs/$latest
    attempts_removed "$base" "${jobs##*/}"
    if [ "$attempts_removed" -gt "$latest" ] && [ "$attempts_removed" -gt "$known_attempt" ]; then
      part collected "$attempts_removed"
      emit "$jobs/$attempts_removed"
      return
    fi
    # attaching to what another account has put there would make its outcome ours
    assert_trusted "$dir" || return 1
    # Each is looked at once, because another worker may collect the attempt at any moment. The mark comes last: the
    # files are removed only after it was made.
    has_files='' has_mark=''
    ! has_attempt "$dir" || has_files=yes
    [ ! -e "$dir/$SJ_COLLECTED" ] || has_mark=yes
    if [ -n "$has_mark" ] && [ "$latest" -gt "$known_attempt" ]; then
      part collected "$latest"
      emit "$dir"
      # only for a retry
      [ "$known_attempt" -eq 0 ] || { measure "$dir" && read_digests "$dir" && write_digests; }
      return
    elif [ -n "$has_mark" ] || [ "$latest" -eq 0 ]; then
      ! lacks_inputs "$@" || return 0
      next_number || return 1
    elif [ -n "$has_files" ]; then
      found_attempt "$1"
      return
    else
      is_absent "$dir/$SJ_SPEC"
      [ -z "$unsearchable" ] || refuse directory-not-searchable \
        "no permission to search the directory $unsearchable" || return 1
      # part of it was deleted, or it was not created by this package
      assert_not_running "$dir" || return 1
      ! lacks_inputs "$@" || return 0
      [ "$latest" -gt "$damaged" ] || next_number || return 1
    fi
    claim "$@" && return
    [ -e "$jobs/$latest" ] || return 1
    has_attempt "$jobs/$latest" || damaged=$latest
  done
}

# next_number: sets $latest to the next number. The highest one is also noted outside of the task's directory, in case
# that is deleted while the job runs.
next_number() {
  for earlier in "$jobs"/[0-9]*; do
    # no attempt at all: looking for its processes would cost more than the job
    [ -e "$earlier" ] || continue
    is_recorded "$earlier" || ! attempt_lives "$earlier" || refuse_running "$earlier" || return 1
  done
  [ "$latest" -ge "$attempts_removed" ] || latest=$attempts_removed
  latest=$((latest + 1))
  used=''
  note=$base/jobs/.used.${jobs##*/}
  [ ! -s "$note" ] || read -r used <"$note"
  case $used in *[!0-9]*) used= ;; esac
  if [ -n "$used" ]; then
    # attempts follow each other, so all but the last few have ended
    deleted=$((used - 9))
    [ "$deleted" -ge "$latest" ] || deleted=$latest
    while [ "$deleted" -le "$used" ]; do
      assert_not_running "$jobs/$deleted" || return 1
      deleted=$((deleted + 1))
    done
  elif is_new "$base/jobs"; then
    # the note may have been deleted, too: check all numbers
    marks_of "$jobs/" && ! marker_in_use "$marks" || refuse_running "$jobs" || return 1
  fi
  # not essential: on a full disk the claim reports the error
  emit "$latest" 2>/dev/null >"$note" || true
}

# is_recorded DIR: whether there is an exit record of the attempt; what its processes leave behind does not count then.
is_recorded() {
  [ ! -s "$1/$SJ_RECORD" ] || return 0
  [ -s "$1/$SJ_COLLECTED" ] || return 1
  bounded "$1/$SJ_COLLECTED"
  while read -r shown; do
    case $shown in 'outcome: '*) return 0 ;; esac
  done <"$bounded"
  return 1
}

# assert_not_running DIR: refuses another attempt while processes of that one run, whose directory was deleted or
# damaged.
assert_not_running() {
  ! attempt_lives "$1" || refuse_running "$1" || return 1
  # a scheduler may run it on another machine
  [ "$launch" != nohup ] || return 0
  case " $checked " in *" ${1##*/} "*) return ;; esac
  unchecked=yes
  part unchecked "${1##*/}" "$SJ_MOMENT"
  emit "$1"
  # it may have been submitted as an element of an array, which has another name
  submission_note "$1"
  [ ! -s "$submission_note" ] || show "$submission_note"
  return 1
}

# submission_note DIR: sets $submission_note to a file outside of the task's directory that says how the attempt was
# submitted to a scheduler, in case that directory is deleted while the job runs.
submission_note() {
  submission_note=${1%/*}
  submission_note=${submission_note%/*}/.submitted.${submission_note##*/}.${1##*/}
}

refuse_running() { refuse attempt-still-running "an earlier attempt is still running: $1"; }

# is_new DIRECTORY: whether this session has created it while jobs ran that had been started in an earlier one.
is_new() { case $SJ_NEW_BASES in *"$newline$1$newline"*) ;; *) return 1 ;; esac }

# claim DIGESTS SPEC COMMAND ENVIRONMENT SETUP [ENTRY NAME]...: creates the whole job directory elsewhere, then renames it. The
# rename is the claim: renaming onto a directory that is not empty fails (POSIX rename), so only one client succeeds.
claim() {
  stage=$base/lib/.stage.$SJ_SELF
  if ! write_attempt "$@"; then
    rm -rf "$stage"
    # one of them was removed a moment ago
    ! lacks_inputs "$@" || return 0
    unwritable "$base/jobs"
    refuse directory-not-writable "cannot create a job directory in $jobs: $why"
    return
  fi
  # with the dot: if $jobs was removed meanwhile, the directory would be renamed to $jobs
  if mv "$stage/$latest" "$jobs/." 2>/dev/null || { mkdir "$jobs" 2>/dev/null && mv "$stage/$latest" "$jobs/."; }; then
    launch_job "$jobs/$latest" || return 1
    part claimed "$latest"
    emit "$jobs/$latest"
    return 0
  fi
  rm -rf "$stage"
  [ -e "$jobs/$latest" ] || refuse directory-not-created "cannot move the job directory to its path: $jobs/$latest"
  return 1
}

write_attempt() {
  kept=$jobs/$SJ_KEPT
  # whatever a command has put in its place
  { [ ! -e "$kept" ] && [ ! -h "$kept" ]; } || kept=$jobs
  mkdir -p "$kept" "$stage/$latest/$SJ_SCRATCH"
  # the supervisor makes the first one if that has failed
  [ -d "$jobs" ] && [ -d "$stage/$latest/$SJ_SCRATCH" ] && is_own "$jobs" && write_files "$stage/$latest" "$@"
}

# write_files DIR DIGESTS SPEC COMMAND ENVIRONMENT SETUP [ENTRY NAME]...: with builtins, so that no secret is an argument of a
# process.
write_files() {
  emit "$2" >"$1/$SJ_DIGESTS" &&
    emit "$3" >"$1/$SJ_SPEC" &&
    emit "$4" >"$1/$SJ_COMMAND" &&
    emit "$5" >"$1/$SJ_ENVIRONMENT" &&
    { [ -z "$6" ] || emit "$6" >"$1/$SJ_SETUP"; } &&
    { [ "$launch" = nohup ] || emit "$launch" >"$1/$SJ_LAUNCH"; } &&
    true >"$1/$SJ_LOG" &&
    true >"$1/$SJ_DIAGNOSTICS" &&
    link_inputs "$@"
}

# found_attempt DIGESTS: launches the existing attempt again if no supervisor has claimed the run.
found_attempt() {
  measure "$dir"
  read_digests "$dir"
  # without the file the command is taken for the same, because only one may run
  found_digests=${found_digests:-${1%%"$newline"*}}
  [ "$found_digests" != "${1%%"$newline"*}" ] || launch_again "$dir" || return 1
  part found "$latest"
  emit "$dir"
  write_digests
}

# read_digests DIR: sets $found_digests, and $found_retry to the line about a retry.
read_digests() {
  found_digests='' found_retry=''
  bounded "$1/$SJ_DIGESTS"
  [ ! -s "$1/$SJ_DIGESTS" ] || { read -r found_digests && IFS= read -r found_retry; } <"$bounded" || :
}

write_digests() {
  part digests "$latest"
  emit "$found_digests${found_retry:+$newline$found_retry}"
}
