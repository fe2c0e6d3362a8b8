# shellcheck shell=sh disable=SC2034,SC2154
# Inputs and project of a job: the spec calls the first functions, in the job directory.

# input VARIABLE PATH: a file or directory of the host.
input() { eval "export $1=\"\$2\""; }

# own_input VARIABLE NUMBER NAME: one that the job was given, see link_inputs. It may have been deleted since.
own_input() {
  input "$1" "$dir/$SJ_INPUTS/$2/$3"
  [ -e "$SJ_INPUTS/$2/$3" ] || missing_input=$dir/$SJ_INPUTS/$2/$3
}

trees=

# own_tree VARIABLE NUMBER NAME ENTRY: a directory, of which link_trees makes the files.
own_tree() {
  input "$1" "$dir/$SJ_INPUTS/$2/$3"
  trees="$trees $2"
  eval "tree_name_$2=\$3 tree_entry_$2=\$4"
}

# link_trees: gives the command hard links to the files of directories; the directories are its own. The claim only keeps the
# entries from being removed, by one link to each, because it must not take long. Without that link it has copied the files.
link_trees() {
  [ -n "$trees" ] || return 0
  # a fork that failed has ended this function anywhere, see retry_fork
  cd "$dir" || return
  for tree in $trees; do
    eval "tree_path=\$SJ_INPUTS/\$tree/\$tree_name_$tree tree_cache=\${dir%/*/*/*}/cache/\$tree_entry_$tree"
    if [ ! -e "$SJ_INPUTS/$tree.entry" ]; then
      [ -e "$tree_path" ] || missing_input=$dir/$tree_path
    elif ! make_tree 2>"$scratch/notices"; then
      why=
      read -r why <"$scratch/notices"
      reason="the input $dir/$tree_path cannot be linked: $why"
      return
    fi
  done
}

# make_tree: what exists is of an earlier run of the same attempt, see `requeue`. The entry is checked when all is there.
make_tree() {
  remove_private "$SJ_INPUTS/$tree"
  mkdir "$SJ_INPUTS/$tree" || return
  cp -Rl "$tree_cache/content" "$tree_path" 2>/dev/null || {
    remove_private "$tree_path"
    cp -R "$tree_cache/content" "$tree_path"
  } || return
  tree_written=$(find "$tree_cache/content" -newer "$tree_cache/verified" 2>&1 | head -n 1)
  [ -z "$tree_written" ] || {
    emit "the entry of the cache has changed: $tree_written" >&2
    return 1
  }
}

# unpack_project: gives the command a copy of the project that is its own, so what it writes there changes no other job. The
# claim has only linked the archive, because the supervisors of many jobs extract theirs at the same time, and a claim must
# not take long. A directory that exists is that of an earlier run of the same attempt, see `requeue`.
unpack_project() {
  [ -n "$project_input" ] || return 0
  # a fork that failed has ended this function in the other directory, see retry_fork
  cd "$dir" || return
  SSHJOB_PROJECT=$dir/$SJ_PROJECT
  export SSHJOB_PROJECT
  project_archive=$SJ_INPUTS/$project_input/$SJ_PROJECT working_directory=${working_directory:-$SSHJOB_PROJECT}
  if [ ! -e "$project_archive" ]; then
    reason="the project $dir/$project_archive was deleted before the command started"
    return
  fi
  remove_private "$SJ_PROJECT"
  if mkdir "$SJ_PROJECT" && cd "$SJ_PROJECT"; then extract '' <"$dir/$project_archive"; else false; fi 2>"$dir/$scratch/notices"
  unpacked=$?
  cd "$dir" || return
  [ "$unpacked" -eq 0 ] && return
  why=
  read -r why <"$scratch/notices"
  reason="the project cannot be extracted in $SSHJOB_PROJECT: $why"
}
