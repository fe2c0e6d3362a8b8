# shellcheck shell=sh disable=SC2034,SC2154,SC2317
# Outputs of a job: the command writes to a temporary path, which is renamed when it has succeeded. The handlers run in
# the job directory, and set $reason if they fail.

outputs=0

# output VARIABLE FINAL_PATH: called by the spec for each output.
output() {
  outputs=$((outputs + 1))
  eval "variable_$outputs=\$1 final_$outputs=\$2"
}

# returned_output VARIABLE NUMBER NAME: the same for one that the client fetches from the job directory.
returned_output() { output "$1" "$dir/$SJ_RETURNED/$2/$3"; }

# each_output HANDLER: calls HANDLER VARIABLE FINAL_PATH for each output.
each_output() {
  output_number=0
  while [ "$output_number" -lt "$outputs" ]; do
    output_number=$((output_number + 1))
    eval "\"\$1\" \"\$variable_$output_number\" \"\$final_$output_number\""
  done
}

# output_paths FINAL_PATH: sets $final, and $temporary in a private directory next to it, so that the rename is
# atomic, and nobody else can create anything at that path. A spec of an earlier version has no token.
output_paths() {
  final=$1 private=${1%/*}/.sshjob-${token:-$tag-$attempt}-$output_number
  temporary=$private/${1##*/} replaced=$private/.sshjob-replaced
}

# prepare_output: a private directory that exists is that of an earlier run of the same attempt, see `requeue`.
prepare_output() {
  output_paths "$2"
  [ -d "${final%/*}" ] || (umask "$user_umask" && mkdir -p "${final%/*}") || {
    reason="cannot create the directory of the output $final"
    return
  }
  # for collect.sh, if this process is killed
  emit yes 2>/dev/null >"$SJ_TEMPORARY"
  remove_unfinished "$private" "$final"
  why=$(private_directory "$private" 2>&1) || {
    reason="cannot create a temporary directory for the output $final: ${why##*: }"
    return
  }
  [ ! -e "$final" ] || eval "before_$output_number=\$(fingerprint \"\$final\")"
}

export_output() {
  output_paths "$2"
  eval "export $1=\"\$temporary\""
}

check_output() {
  output_paths "$2"
  [ ! -e "$temporary" ] || return 0
  if [ ! -e "$final" ]; then
    reason="the command succeeded but did not create the output $final"
  elif eval "[ -n \"\${before_$output_number-}\" ]" && eval "[ \"\$before_$output_number\" = \"\$(fingerprint \"\$final\")\" ]"; then
    reason="the command succeeded but did not create the output $final: it existed before, and was not changed"
  fi
}

# commit_output: moves an old directory aside first, because a directory cannot be replaced. A link is replaced itself.
commit_output() {
  output_paths "$2"
  # committed before
  [ -e "$temporary" ] || [ -h "$temporary" ] || return 0
  if [ -d "$final" ] && [ ! -h "$final" ]; then
    rm -rf "$replaced"
    rename_over "$final" "$replaced" || {
      reason="cannot move the old output directory $final aside: $why"
      return
    }
  fi
  rename_over "$temporary" "$final" || {
    reason="cannot rename the new output to $final: $why"
    [ ! -e "$replaced" ] || rename_over "$replaced" "$final"
  }
}

discard_output() {
  output_paths "$2"
  rmdir "$private" 2>/dev/null || remove_unfinished "$private" "$final" || kept=yes
}

# discard_outputs: removes all that is temporary.
discard_outputs() {
  [ "$outputs" -gt 0 ] || return 0
  kept=
  each_output discard_output
  [ -n "$kept" ] || { true >"$SJ_TEMPORARY"; } 2>/dev/null
  return 0
}
