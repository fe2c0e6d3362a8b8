# shellcheck shell=sh disable=SC2034,SC2209
# Names of the files in a job directory, for the scripts and for scripts.py.
SJ_SPEC=spec
SJ_COMMAND=command
SJ_ENVIRONMENT=environment
SJ_SETUP=setup
SJ_DIGESTS=digests
SJ_STARTED=started
SJ_IDENTITY=identity
SJ_SCRATCH=run
SJ_LOG=log
SJ_PROGRESS=progress
SJ_REASON=reason
SJ_EXIT_CODE=exit_code
SJ_RECORD=exit_record
SJ_CANCEL=cancel_requested
SJ_COLLECTED=collected
SJ_FORGOTTEN=forgotten
SJ_DIAGNOSTICS=supervisor.log
SJ_LAUNCH=launch
SJ_SUBMISSION=submission
SJ_SUBMITTING=submitting
SJ_UNSETTLED=unsettled_record
SJ_TEMPORARY=temporary_outputs
SJ_CGROUP=cgroup
SJ_INPUTS=inputs
SJ_RETURNED=outputs
SJ_PROJECT=project
# next to the attempts of a task
SJ_KEPT=scratch
