#!/bin/sh
# Runs the tests on a Debian or Ubuntu with git and python3.
#
#   tests/run.sh                  the default subset, about forty minutes; says what it leaves out
#   tests/run.sh all [CELL]...    the complete matrix, or some cells, with a mark for each
#   tests/run.sh ARGUMENT...      tox with these arguments
#
# Installs missing packages. The SSH host is a container if a Docker engine responds, otherwise a throwaway sshd on this
# machine.
set -eu
cd "$(dirname "$0")/.."
venv=$PWD/.venv-tests

say() { printf '%s\n' "tests/run.sh: $*"; }
die() {
  say "$*" >&2
  exit 1
}
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
updated=
missing=

# need PACKAGE WHY: add it to the packages to install
need() {
  say "$1 is missing: $2"
  missing="$missing $1"
}

install_missing() {
  [ -n "$missing" ] || return 0
  has apt-get || die "apt-get not found. Install$missing manually, then run this again."
  [ -z "$sudo" ] || has sudo ||
    die "root or sudo is required. Ask an administrator to run: apt-get install$missing"
  say "installing$missing"
  if [ -z "$updated" ]; then
    $sudo apt-get update -qq
    updated=yes
  fi
  # shellcheck disable=SC2086  # a list of package names
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  missing=
}

# The tests run their own sshd: the package must not start the system's sshd, now or at the next boot.
# In a subshell, so that its EXIT trap removes the policy file.
install_sshd() (
  need openssh-server "without a Docker engine the tests run a throwaway sshd; the system's sshd stays disabled"
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ] && { [ -z "$sudo" ] || has sudo; }; then
    # shellcheck disable=SC2064  # expanded now, on purpose
    trap "$sudo rm -f $policy" EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
  fi
  install_missing
  if has systemctl; then
    $sudo systemctl disable ssh.service ssh.socket >/dev/null 2>&1 || :
  fi
)

# Tests of luigid's page need a browser. Only Debian has both packages; elsewhere the tests are skipped.
install_browser() {
  say "chromium or chromium-driver is missing: the tests of luigid's page need both"
  missing=" chromium chromium-driver"
  (install_missing) || :
  missing=
  if has chromium && has chromedriver; then return; fi
  [ "${CI:-}" != true ] || die "chromium and chromium-driver cannot be installed, and CI must test luigid's page"
  say "they cannot be installed: skipping the tests of luigid's page"
}

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "python3 must be Python 3.10 or newer"
python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv "creates the virtual environment of the tests"
has ssh || need openssh-client "the tests connect with it"
has sshpass || need sshpass "tests accounts with a password"
has ps || need procps "lists processes"
has zsh || need zsh "it completes the words of the command line"
has fish || need fish "it completes the words of the command line"
has shellcheck || need shellcheck "checks the shell scripts"
has shfmt || need shfmt "checks the format of the shell scripts"
install_missing
{ has chromium && has chromedriver; } || install_browser

# A moved checkout, a removed Python or an interrupted installation leaves a broken environment.
"$venv/bin/python" -c 'import docker, tox' 2>/dev/null || {
  say "creating a virtual environment in $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check docker tox
}

status=0
engine=$("$venv/bin/python" tests/support/docker_engine.py) || status=$?
case $status in
  0) say "$engine" ;;
  3)
    [ "${CI:-}" != true ] || die "CI must test with Docker: $engine"
    say "$engine: testing with a throwaway sshd on this machine"
    has sshd || install_sshd
    ;;
  *) die "$engine" ;;
esac

# All tests with the installed Python and the newest Luigi, the most minimal host of the matrix, and this machine itself. Other Pythons may
# not be installed.
subset=lint,typecheck,shellcheck,docs,package,py
cells="busybox local"

case ${1-} in
  all)
    shift
    [ "$status" -eq 0 ] || die "the matrix requires a Docker engine"
    exec "$venv/bin/python" tests/matrix.py "$@"
    ;;
  '')
    say "running $subset, then $cells and chaos; for the complete matrix run: tests/run.sh all"
    ;;
  *) exec "$venv/bin/python" -m tox "$@" ;;
esac

"$venv/bin/python" -m tox -e "$subset"
if [ "$status" -eq 0 ]; then
  # shellcheck disable=SC2086  # words
  "$venv/bin/python" tests/matrix.py $cells
else
  say "skipping $cells, which require a Docker engine"
fi
exec "$venv/bin/python" -m tox -e chaos
