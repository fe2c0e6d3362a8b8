# shellcheck shell=sh
# The same start for all scripts, whatever an rc file has exported or changed. Variables of other programs stay as they
# are, for the jobs.

# CDPATH changes what cd does, GREP_OPTIONS what the grep of old systems prints
unset CDPATH ENV GREP_OPTIONS
# relative paths are below the home directory
cd 2>/dev/null || :
