# shellcheck shell=sh disable=SC2034,SC2154
# Decides which directories and scripts may be used: none that another account controls, because this account would run
# its commands, or give it secrets.

SJ_APPROVED=$newline SJ_VERIFIED=$newline SJ_UNWRITTEN=$newline SJ_APPROVED_UNTIL=0 SJ_DANGER_BASE='' SJ_DANGER_UNTIL=0

# distrust CODE TEXT: as refuse, but only sets $danger_code and $danger.
distrust() {
  danger_code=$1 danger=$2
  return 1
}

# is_private BASE: whether the base directory, and those in it, are directories of this account that no other account can
# write. Links and owners are checked each time, with builtins; modes once a minute, because only
# the owner can change them then. Fails with $danger_code and $danger set. What does not exist yet is created private.
is_private() {
  writable=''
  if ! is_approved "$1"; then
    [ -e "$1" ] || [ -h "$1" ] || return 0
    list_writable "$1" "$1/lib" "$1/lib/$SJ_LIBRARY" "$1/jobs" "$1/cache" "$1/pools" ||
      distrust directory-not-checked "the permissions of a directory cannot be checked: $1: $writable" || return
  fi
  # owners after the modes: what is in a directory that only this account can write stays as it is
  for private in "$1" "$1/lib" "$1/lib/$SJ_LIBRARY" "$1/jobs" "$1/cache" "$1/pools"; do
    is_own "$private" || return
    case $newline$writable$newline in
      *"$newline$private$newline"*)
        distrust writable-by-others "other accounts can write to a directory: $private"
        return
        ;;
    esac
  done
  is_approved "$1" || SJ_APPROVED=$SJ_APPROVED$1$newline
}

# is_approved BASE: whether this session has found it private within the last minute.
is_approved() { case $SJ_APPROVED in *"$newline$1$newline"*) ;; *) return 1 ;; esac }

# list_writable DIRECTORY...: sets $writable to those that others can write, as lines; to the error if it fails.
list_writable() {
  for listed; do
    shift
    # a link has all permissions
    [ ! -d "$listed" ] || [ -h "$listed" ] || set -- "$@" "$listed"
  done
  [ $# -eq 0 ] || writable=$(find "$@" -prune \( -perm -020 -o -perm -002 \) -print 2>&1)
}

# is_own PATH: whether it does not exist, or belongs to this account and is no link.
is_own() {
  if [ -h "$1" ]; then
    distrust link-in-base "a symbolic link is in the place of a directory: $1 leads to $(cd -P -- "$1" 2>/dev/null && pwd)"
  elif [ -e "$1" ] && [ ! -O "$1" ]; then
    distrust foreign-directory "a directory belongs to another account: $1"
  fi
}

# base_of DIR: sets $job_base to the base directory of a job directory; fails for another path.
base_of() {
  job_base=${1%/*/*}
  case $job_base in */jobs) job_base=${job_base%/jobs} ;; *) return 1 ;; esac
}

# is_trusted DIR: whether no other account controls the job directory; as is_private, but cheaper, for many jobs. What
# was found about a base directory holds for some seconds.
is_trusted() {
  base_of "$1" || return 0
  if ! is_approved "$job_base"; then
    if [ "$SJ_DANGER_BASE" = "$job_base" ] && seconds_up && [ "$seconds" -lt "$SJ_DANGER_UNTIL" ]; then
      distrust "$base_danger_code" "$base_danger" || return
    fi
    is_private "$job_base" || {
      seconds_up
      SJ_DANGER_BASE=$job_base SJ_DANGER_UNTIL=$((seconds + 5)) base_danger_code=$danger_code base_danger=$danger
      return 1
    }
  fi
  is_own "${1%/*}" && is_own "$1"
}

# assert_private BASE, assert_trusted DIR: refuse others.
assert_private() { is_private "$1" || refuse "$danger_code" "$danger"; }
assert_trusted() { is_trusted "$1" || refuse "$danger_code" "$danger"; }

# assert_safe VERB [ARGUMENT]...: refuses a request that would use a directory which another account controls. The verbs
# that only report a job say that its state is unknown, see job_state.
assert_safe() {
  # a question about a path uses no approval
  [ "$1" != limited ] || return 0
  # the owner may have changed a mode, and a job what it shares
  seconds_up
  [ "$seconds" -lt "$SJ_APPROVED_UNTIL" ] ||
    SJ_APPROVED=$newline SJ_VERIFIED=$newline SJ_UNWRITTEN=$newline SJ_APPROVED_UNTIL=$((seconds + 60))
  case $1 in
    job_relaunch) assert_private "$2" && assert_trusted "$4" ;;
    install_supervisor | job_submit | cache_* | slots_show | pool_* | scheduler_answers | scheduler_call) assert_private "$2" ;;
    job_survey | job_find | job_published | job_status | job_cancel) ;;
    job_remove | job_discard) ! base_of "$2" || assert_private "$job_base" ;;
    job_*) assert_trusted "$2" ;;
  esac
}

# has_scripts DIRECTORY: whether all scripts of the supervisor are there, unchanged and safe from other accounts. Their
# content and modes are checked once in a session. A file may be missing because the site purges old ones.
has_scripts() {
  for script in $SJ_SCRIPTS timer; do
    [ -f "$1/$script" ] && [ -O "$1/$script" ] && [ ! -h "$1/$script" ] || return
  done
  case $SJ_VERIFIED in *"$newline$1$newline"*) return 0 ;; esac
  timer=none
  read -r timer <"$1/timer"
  case $timer in '' | /usr/bin/time | /bin/time) ;; *) return 1 ;; esac
  [ -z "$(find "$1" \( -perm -020 -o -perm -002 \) -print 2>&1)" ] && same_content "$1" || return
  SJ_VERIFIED=$SJ_VERIFIED$1$newline
}

# same_content DIRECTORY: by checksums, or at least by sizes if there is no program for them.
same_content() {
  # shellcheck disable=SC2086  # names without special characters
  if command -v sha256sum >/dev/null 2>&1; then
    expected=$SJ_SHA256 found=$(cd "$1" && sha256sum $SJ_SCRIPTS)
  elif command -v shasum >/dev/null 2>&1; then
    expected=$SJ_SHA256 found=$(cd "$1" && shasum -a 256 $SJ_SCRIPTS)
  else
    expected=$SJ_SIZES found=$(cd "$1" && wc -c $SJ_SCRIPTS)
  fi 2>/dev/null
  # shellcheck disable=SC2086
  set -- $found
  found=''
  for script in $SJ_SCRIPTS; do
    found="$found${1-} ${2-} "
    [ $# -lt 2 ] || shift 2
  done
  [ "$found" = "$expected" ]
}
