# shellcheck shell=sh disable=SC2034,SC2154
# The setup of a job: run_setup.sh runs it, and then becomes the command. $setup_shell is "login", "plain", or empty if there
# is no setup.

# prepare_setup: sets $setup_program and $setup_option to the shell that runs the setup. Writes a mark, which run_setup.sh
# empties when it has reached the command: that needs no space on the disk. Sets $reason if the mark cannot be written.
prepare_setup() {
  [ -n "$setup_shell" ] || return 0
  setup_option='' setup_program=$(command -v bash)
  case $setup_program in
    /*) [ "$setup_shell" = plain ] || setup_option=-l ;;
    *) setup_program=/bin/sh ;;
  esac
  if { emit pending >"$scratch/$SJ_SETUP"; } 2>/dev/null && [ -s "$scratch/$SJ_SETUP" ]; then
    # kept open, so that it can be read also if the file was deleted
    exec 3<"$scratch/$SJ_SETUP"
    return
  fi
  # cat, because the printf of shells reports each reason as "I/O error"
  why=$({ emit pending | cat >"$scratch/$SJ_SETUP"; } 2>&1)
  reason="the setup was not started: cannot write its mark to $dir/$scratch: ${why##*: }"
}

# read_setup_mark: sets $setup_mark, which is empty if the command was reached, or if there is no setup. Once, because it
# reads from a descriptor.
read_setup_mark() { [ -z "$setup_shell" ] || read -r setup_mark <&3 || true; }
