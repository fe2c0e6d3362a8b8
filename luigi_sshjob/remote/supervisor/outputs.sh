# shellcheck shell=sh disable=SC2034,SC2154,SC2317
# Outputs of a job: the command writes to a temporary path, which is renamed when it has succeeded. The handlers run in
# the job directory, and set $reason if they fail.

outputs=0

# output VARIABLE FINAL_PATH SUFFIX: called by the spec for each output.
output() {
  outputs=$((outputs + 1))
  eval "variable_$outputs=\$1 final_$outputs=\$2 suffix_$outputs=\$3"
}

# each_output HANDLER: calls HANDLER VARIABLE FINAL_PATH SUFFIX for each output.
each_output() {
  output_number=0
  while [ "$output_number" -lt "$outputs" ]; do
    output_number=$((output_number + 1))
    eval "\"\$1\" \"\$variable_$output_number\" \"\$final_$output_number\" \"\$suffix_$output_number\""
  done
}

# output_paths FINAL_PATH SUFFIX: sets $final and $temporary, in the same directory so that the rename is atomic.
output_paths() {
  final=$1 temporary=${1%/*}/.sshjob-$tag-$attempt$2
}

prepare_output() {
  output_paths "$2" "$3"
  [ -d "${final%/*}" ] || (umask "$user_umask" && mkdir -p "${final%/*}") || {
    reason="cannot create the directory of the output $final"
    return
  }
  rm -rf "$temporary"
  [ ! -e "$final" ] || eval "before_$output_number=\$(fingerprint \"\$final\")"
}

# fingerprint PATH: prints a text that differs when the file, or a file below the directory, was written or replaced.
fingerprint() {
  { find -H "$1" -exec stat -c '%n %i %s %y %z' -- {} + || find -H "$1" -exec stat -f '%N %i %z %Fm %Fc' -- {} + ||
    ls -lniRA "$1"; } 2>/dev/null | cksum
}

export_output() {
  output_paths "$2" "$3"
  eval "export $1=\"\$temporary\""
}

check_output() {
  output_paths "$2" "$3"
  [ ! -e "$temporary" ] || return 0
  if [ ! -e "$final" ]; then
    reason="the command succeeded but did not create the output $final"
  elif eval "[ -n \"\${before_$output_number-}\" ]" && eval "[ \"\$before_$output_number\" = \"\$(fingerprint \"\$final\")\" ]"; then
    reason="the command succeeded but did not create the output $final: it existed before, and was not changed"
  fi
}

# commit_output: moves an old directory aside first, because mv would put the new one inside it.
commit_output() {
  output_paths "$2" "$3"
  if [ ! -e "$temporary" ]; then
    # committed before, except for the last step
    [ ! -e "$temporary.old" ] || [ ! -e "$final" ] || rm -rf "$temporary.old"
    return
  fi
  if [ -d "$final" ]; then
    rm -rf "$temporary.old"
    mv "$final" "$temporary.old" || {
      reason="cannot move the old output directory $final aside"
      return
    }
  fi
  if mv -f "$temporary" "$final"; then
    [ ! -e "$temporary.old" ] || rm -rf "$temporary.old"
  else
    reason="cannot rename the new output to $final"
    [ ! -e "$temporary.old" ] || mv "$temporary.old" "$final"
  fi
}

discard_output() {
  output_paths "$2" "$3"
  [ ! -e "$temporary" ] || rm -rf "$temporary"
}
