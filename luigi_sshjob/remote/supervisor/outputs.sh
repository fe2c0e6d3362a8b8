# shellcheck shell=sh disable=SC2034,SC2154,SC2317
# The outputs of a job: made at a temporary path, renamed when the command has succeeded. `each_output` is called in
# the job directory; a handler that fails says why in $reason.

# each_output HANDLER: calls HANDLER VARIABLE FINAL_PATH SUFFIX for every output that the spec names.
each_output() {
  output_handler=$1
  output() { "$output_handler" "$@"; }
  # shellcheck source=/dev/null
  . "./$SJ_SPEC"
}

# output_paths FINAL_PATH SUFFIX: sets $final and $temporary, side by side so that the rename is atomic.
output_paths() {
  final=$1 temporary=${1%/*}/.sshjob-$tag-$attempt$2
}

prepare_output() {
  output_paths "$2" "$3"
  [ -d "${final%/*}" ] || (umask "$user_umask" && mkdir -p "${final%/*}") || {
    reason="the directory of the output $final cannot be made"
    return
  }
  rm -rf "$temporary"
}

export_output() {
  output_paths "$2" "$3"
  eval "export $1=\"\$temporary\""
}

check_output() {
  output_paths "$2" "$3"
  [ -e "$temporary" ] || [ -e "$final" ] || reason="the command ended well but made no output $final"
}

# commit_output: a directory in the way is moved aside first, as mv would put the new one inside it.
commit_output() {
  output_paths "$2" "$3"
  if [ ! -e "$temporary" ]; then
    # done before, but for the last step
    [ ! -e "$temporary.old" ] || [ ! -e "$final" ] || rm -rf "$temporary.old"
    return
  fi
  if [ -d "$final" ]; then
    rm -rf "$temporary.old"
    mv "$final" "$temporary.old" || {
      reason="the directory $final could not be moved out of the way of the new one"
      return
    }
  fi
  if mv -f "$temporary" "$final"; then
    [ ! -e "$temporary.old" ] || rm -rf "$temporary.old"
  else
    reason="the output $final could not be put in its place"
    [ ! -e "$temporary.old" ] || mv "$temporary.old" "$final"
  fi
}

discard_output() {
  output_paths "$2" "$3"
  [ ! -e "$temporary" ] || rm -rf "$temporary"
}
