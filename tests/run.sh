#!/bin/sh
# Runs the tests on a Debian or Ubuntu that has only git and python3.
#
#   tests/run.sh                  a subset in about twenty minutes, and says what it left out
#   tests/run.sh all [CELL]...    the whole matrix, or those cells of it, with a mark for each
#   tests/run.sh ARGUMENT...      tox with these arguments
#
# Installs what is missing, and tests against a dockerised sshd where a Docker engine answers, else against a
# throwaway sshd of this machine.
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

# need PACKAGE WHY: to be installed with the others
need() {
  say "$1 is missing: $2"
  missing="$missing $1"
}

install_missing() {
  [ -n "$missing" ] || return 0
  has apt-get || die "there is no apt-get here. Install$missing by hand, then run this again."
  [ -z "$sudo" ] || has sudo ||
    die "this account is not root and there is no sudo. Ask an administrator for: apt-get install$missing"
  say "installing$missing"
  if [ -z "$updated" ]; then
    $sudo apt-get update -qq
    updated=yes
  fi
  # shellcheck disable=SC2086  # a list of names
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  missing=
}

# The tests run an sshd of their own: the package must not start the system's, now or at the next boot.
# In a subshell, whose end removes what forbids the start.
install_sshd() (
  need openssh-server "without a Docker engine the tests run a throwaway sshd (the system's own stays off)"
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ] && { [ -z "$sudo" ] || has sudo; }; then
    # shellcheck disable=SC2064  # to remove it, it has to be ours now
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

# luigid's page is tested in a browser. Only Debian has both packages; elsewhere those tests are left out.
install_browser() {
  say "chromium or chromium-driver is missing: luigid's page is tested in them"
  missing="chromium chromium-driver"
  (install_missing) || :
  missing=
  if has chromium && has chromedriver; then return; fi
  [ "${CI:-}" != true ] || die "CI must test luigid's page, but chromium and chromium-driver cannot be installed"
  say "they cannot be installed here: the tests of luigid's page are left out"
}

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "needs Python 3.10 or newer as python3"
python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv "makes a virtual environment for the tests"
has ssh || need openssh-client "is what the tests connect with"
has sshpass || need sshpass "gives ssh the password of an account that has only one"
has ps || need procps "shows what a job runs"
has shellcheck || need shellcheck "checks the shell scripts"
has shfmt || need shfmt "checks the layout of the shell scripts"
install_missing
{ has chromium && has chromedriver; } || install_browser

# A moved checkout, a removed Python or an interrupted installation leave one that does not work.
"$venv/bin/python" -c 'import docker, tox' 2>/dev/null || {
  say "making a virtual environment in $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check docker tox
}

status=0
answer=$("$venv/bin/python" tests/support/docker_engine.py) || status=$?
case $status in
  0) say "$answer" ;;
  3)
    [ "${CI:-}" != true ] || die "CI must test against Docker, but $answer"
    say "$answer: testing against a throwaway sshd on this machine"
    has sshd || install_sshd
    ;;
  *) die "$answer" ;;
esac

# What CI runs: all tests with the Python that is there and the newest Luigi, and of the matrix the host that has least.
# Other Pythons are not on every machine.
subset=lint,typecheck,shellcheck,docs,package,py
cell=busybox

case ${1-} in
  all)
    shift
    [ "$status" -eq 0 ] || die "the matrix needs a Docker engine"
    exec "$venv/bin/python" tests/matrix.py "$@"
    ;;
  '')
    say "running $subset, then $cell and chaos; the rest of the matrix is left out, see tests/run.sh all"
    ;;
  *) exec "$venv/bin/python" -m tox "$@" ;;
esac

"$venv/bin/python" -m tox -e "$subset"
if [ "$status" -eq 0 ]; then
  "$venv/bin/python" tests/matrix.py "$cell"
else
  say "left out: $cell, which needs a Docker engine"
fi
exec "$venv/bin/python" -m tox -e chaos
