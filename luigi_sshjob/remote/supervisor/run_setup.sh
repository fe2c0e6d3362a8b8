#!/bin/sh
# run_setup.sh LINES MARK SHELL MODULES DIRECTORY PROGRAM [ARGUMENT] COMMAND: loads the MODULES, runs the file LINES, and
# becomes the command in the same process: it starts in the directory, with the exported variables and the limits that these
# have left. With "login" as SHELL the startup files come first; a bash has read them before this line.
_sshjob_lines=$1 _sshjob_mark=$2 _sshjob_shell=$3 _sshjob_modules=$4 _sshjob_directory=$5
shift 5
_sshjob_program=$1 _sshjob_command=$2 _sshjob_argument=
[ $# -lt 3 ] || _sshjob_command=$3 _sshjob_argument=$2
# not for scripts that are sourced
set --
if [ "$_sshjob_shell" = login ] && [ -z "${BASH_VERSION-}" ]; then
  for _sshjob_file in /etc/profile "$HOME/.profile"; do
    # shellcheck source=/dev/null
    [ ! -r "$_sshjob_file" ] || . "$_sshjob_file"
  done
fi
# whatever startup files have changed
set +efu
unset IFS
cd "$_sshjob_directory" || exit 126

_sshjob_fail() {
  echo "luigi_sshjob: $1" >&2
  exit "$2"
}

# _sshjob_load MODULE: environment modules before version 4 report a failure only in words.
_sshjob_load() {
  _sshjob_loaded=${LOADEDMODULES-unknown}
  module load "$1" || return
  # changed, or not kept by this implementation
  [ "${LOADEDMODULES-unknown}" = "$_sshjob_loaded" ] && [ "$_sshjob_loaded" != unknown ] || return 0
  case :$LOADEDMODULES: in *":$1:"* | *":$1/"*) return 0 ;; esac
  # loaded before by another name, if the answer has a meaning
  module is-loaded "$1" 2>/dev/null && ! module is-loaded luigi_sshjob/none 2>/dev/null
}

if [ -n "$_sshjob_modules" ]; then
  for _sshjob_file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh \
    "${MODULESHOME-}/init/sh" /usr/share/modules/init/sh /usr/share/Modules/init/sh /usr/share/lmod/lmod/init/sh; do
    ! command -v module >/dev/null 2>&1 || break
    # shellcheck source=/dev/null
    [ ! -r "$_sshjob_file" ] || . "$_sshjob_file"
  done
  command -v module >/dev/null 2>&1 || _sshjob_fail "cannot load modules: this host has no command 'module'" 127
  for _sshjob_module in $_sshjob_modules; do
    _sshjob_load "$_sshjob_module" || _sshjob_fail "module load $_sshjob_module failed, or loaded nothing" 1
  done
fi

# other shells cannot say which line has failed
[ -z "${BASH_VERSION-}" ] || eval 'trap '\''echo "luigi_sshjob: the setup failed at $BASH_SOURCE:$LINENO" >&2'\'' ERR'
set -e
# shellcheck source=/dev/null
. "$_sshjob_lines"
# the supervisor knows by this that the command was reached
true >|"$_sshjob_mark" || exit 126
exec "$_sshjob_program" ${_sshjob_argument:+"$_sshjob_argument"} "$_sshjob_command"
