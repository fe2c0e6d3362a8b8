# shellcheck shell=sh disable=SC2034,SC2154
# What a host knows about tasks that run on one host of several, a pool. A placement says on which host the next attempt of a
# task is made. It is a directory BASE/pools/KEY/GENERATION with a file, which is renamed into place: that fails if there is one of
# this generation, so the first one is kept. The highest generation counts.

SJ_CORES=''

# pool_look BASE ROOM DIRECTORY SUPPLY KEY...: what the host knows about these tasks. For each KEY that it knows there are parts
# "trace N ATTEMPT STATE", "published N", and "placement N GENERATION". ATTEMPT is the latest one; its STATE is "-", "collected",
# "retried" or that of an attempt that was not collected. If ROOM is not empty, there are also a part "load 0 LOAD CORES", of
# which a "-" is unknown, and "unwritable 0" with the reason if no job could be submitted; if it is "slots", also the parts of
# slots_show, or its refusal.
pool_look() {
  pool_base=$1
  sweep "$1"
  [ -z "$2" ] || pool_room "$@"
  shift 4
  measure_pool "$@"
  pool_index=0
  for pool_key; do
    pool_trace "$pool_base/jobs/$pool_key"
    ! is_published "$pool_base/jobs/$pool_key" || part published "$pool_index"
    placement_of "$pool_key"
    [ "$pool_generation" -eq 0 ] || show_placement
    pool_index=$((pool_index + 1))
  done
}

pool_room() {
  pool_load
  part load 0 "$pool_load ${SJ_CORES:--}"
  [ "$2" != slots ] || slots_show "$1" "$3" "$4" || :
  privately pool_probe || {
    part unwritable 0
    emit "$why"
  }
}

# pool_probe: whether the files of a job could be written; else sets $why. With builtins, unless base_dir is new; the file is
# removed at the end of the session. jobs/ is left to find_or_claim, which looks for processes before it creates it.
pool_probe() {
  pool_place=$pool_base/lib
  [ -d "$pool_place" ] || why=$(own_directory "$pool_base" 2>&1 && own_directory "$pool_place" 2>&1) || {
    why=${why##*: }
    return 1
  }
  if { emit probe >"$pool_place/.look.$SJ_SELF.pool"; } 2>/dev/null; then
    pool_place=$pool_base/pools
    [ -d "$pool_place" ] && [ ! -w "$pool_place" ] || pool_place=$pool_base/jobs
    [ -d "$pool_place" ] && [ ! -w "$pool_place" ] || return 0
  fi
  # as on a full disk
  unwritable "$pool_place"
  return 1
}

# pool_load: sets $pool_load to the average of the last minute, and $SJ_CORES, once in a session.
pool_load() {
  pool_load=-
  if [ -r /proc/loadavg ]; then
    read -r pool_load _ </proc/loadavg
  else
    # "{ 0.52 0.58 0.59 }"
    pool_load=$(sysctl -n vm.loadavg 2>/dev/null)
    pool_load=${pool_load#*\{ } pool_load=${pool_load%% *}
  fi
  case $pool_load in '' | *[!0-9.]*) pool_load=- ;; esac
  [ -n "$SJ_CORES" ] || SJ_CORES=$(list_devices cpu | count_devices cpu)
}

# measure_pool KEY...: the sizes of all small files that are read below, with one process.
measure_pool() {
  pool_keys=$*
  set --
  for pool_key in $pool_keys; do
    latest_attempt "$pool_base/jobs/$pool_key"
    for pool_file in "$pool_base/jobs/$pool_key/$latest/$SJ_COLLECTED" "$pool_base/pools/$pool_key"/[0-9]*/placement; do
      [ ! -s "$pool_file" ] || set -- "$@" "$pool_file"
    done
  done
  [ $# -eq 0 ] || measure_files "$@"
}

# pool_trace JOBS: a part about the latest attempt, if there is one. What has no files of an attempt does not count, see
# find_or_claim.
pool_trace() {
  latest_attempt "$1"
  attempts_removed "$pool_base" "$pool_key"
  if [ "$latest" -lt "$attempts_removed" ]; then
    part trace "$pool_index" "$attempts_removed collected"
    return
  fi
  [ "$latest" -gt 0 ] || return 0
  dir=$1/$latest pool_state=-
  has_files='' has_mark=''
  ! has_attempt "$dir" || has_files=yes
  [ ! -e "$dir/$SJ_COLLECTED" ] || has_mark=yes
  if ! is_trusted "$dir"; then
    pool_state=unknown
  elif [ -n "$has_mark" ]; then
    pool_state=collected
    bounded "$dir/$SJ_COLLECTED"
    while IFS= read -r shown; do
      case $shown in 'retried: yes') pool_state=retried ;; esac
    done <"$bounded"
  elif [ -n "$has_files" ]; then
    measure "$dir"
    job_state "$dir"
    pool_state=$job_state
  else
    latest=$((latest - 1))
  fi
  part trace "$pool_index" "$latest $pool_state"
}

# placement_of KEY: sets $pool_generation to that of its latest placement, or to 0, and $pool_placement to the text.
placement_of() {
  # a later one may replace it meanwhile
  for pool_try in 1 2 3; do
    pool_generation=0 pool_placement=
    for found in "$pool_base/pools/$1"/[0-9]*; do
      [ -e "$found/placement" ] || continue
      found=${found##*/}
      case $found in *[!0-9]* | ??????????*) continue ;; esac
      [ "$found" -le "$pool_generation" ] || pool_generation=$found
    done
    [ "$pool_generation" -gt 0 ] || return 0
    case $SJ_OVERSIZED in *"$newline$pool_base/pools/$1/$pool_generation/placement$newline"*) return 0 ;; esac
    { IFS= read -r pool_placement; } 2>/dev/null <"$pool_base/pools/$1/$pool_generation/placement" && return
  done
  return 0
}

show_placement() {
  part placement "$pool_index" "$pool_generation"
  emit "$pool_placement"
}

# pool_write BASE [KEY GENERATION PLACEMENT]...: writes the placements unless the host has one of that or a higher generation.
# Responds with a part "placement N GENERATION" and the text of the one that counts now, or "unwritten N" and the reason.
pool_write() {
  pool_base=$1
  shift
  sweep "$pool_base"
  privately write_placements "$@"
}

write_placements() {
  own_directory "$pool_base" && own_directory "$pool_base/lib" && own_directory "$pool_base/pools" || return 1
  stage=$pool_base/lib/.stage.$SJ_SELF
  stage_placements "$@" && move_placements "$@"
  rm -rf "$stage"
  show_placements "$@"
}

# stage_placements [KEY GENERATION PLACEMENT]...: one mkdir(1) for all; sets $pool_new to the keys that have no placement yet.
stage_placements() {
  pool_new='' pool_staged=''
  pool_count=$#
  while [ "$pool_count" -gt 0 ]; do
    placement_of "$1"
    # moved to the end of the arguments
    [ "$pool_generation" -ge "$2" ] || {
      pool_staged="$pool_staged $1"
      [ -e "$pool_base/pools/$1" ] || pool_new="$pool_new $1"
    }
    set -- "$@" "$1" "$2" "$3"
    shift 3
    pool_count=$((pool_count - 3))
  done
  [ -n "$pool_staged" ] || return 0
  make_stages "$@" && write_stages "$@"
}

make_stages() {
  pool_count=$#
  while [ "$pool_count" -gt 0 ]; do
    case "$pool_staged " in *" $1 "*) set -- "$@" "$stage/$1/$2" ;; esac
    shift 3
    pool_count=$((pool_count - 3))
  done
  mkdir -p "$@"
}

write_stages() {
  while [ $# -gt 0 ]; do
    case "$pool_staged " in *" $1 "*) emit "$3" >"$stage/$1/$2/placement" || return ;; esac
    shift 3
  done
}

# move_placements [KEY GENERATION PLACEMENT]...: those of new keys with one mv(1), which goes on with the next one where another
# client was faster.
move_placements() {
  # shellcheck disable=SC2086  # keys have no blanks
  [ -z "$pool_new" ] || move_new $pool_new
  while [ $# -gt 0 ]; do
    [ ! -d "$stage/$1/$2" ] || mv "$stage/$1/$2" "$pool_base/pools/$1/." 2>/dev/null
    shift 3
  done
}

move_new() {
  for pool_key; do
    shift
    set -- "$@" "$stage/$pool_key"
  done
  mv "$@" "$pool_base/pools/" 2>/dev/null
}

# show_placements [KEY GENERATION PLACEMENT]...: removes those of lower generations.
show_placements() {
  pool_index=0
  while [ $# -gt 0 ]; do
    placement_of "$1"
    if [ "$pool_generation" -lt "$2" ]; then
      pool_place=$pool_base/pools/$1
      [ -d "$pool_place" ] || pool_place=$pool_base/pools
      unwritable "$pool_place"
      part unwritten "$pool_index"
      emit "$pool_place: $why"
    else
      show_placement
      for found in "$pool_base/pools/$1"/[0-9]*; do
        case ${found##*/} in *[!0-9]* | ??????????*) continue ;; esac
        [ "${found##*/}" -ge "$pool_generation" ] || rm -rf "$found"
      done
    fi
    pool_index=$((pool_index + 1))
    shift 3
  done
}
