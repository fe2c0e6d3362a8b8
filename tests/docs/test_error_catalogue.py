"""docs/errors.rst lists each error message of the code, and only those."""

from __future__ import annotations

from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.ssh.shell.errors import NEXT_STEPS

from support import error_catalogue


def test_each_error_of_the_code_has_a_row_and_each_row_an_error():
    sites, foreign = error_catalogue.error_sites()
    assert not foreign, f"not an SSHJobError, although users may see it: {foreign}"
    unclear = [site.where for site in sites if len(site.sentence.split()) < 3]
    assert not unclear, (
        f"fewer than three fixed words at the beginning of the message, so it cannot be searched: {unclear}"
    )
    listed = {(row.sentence, row.kind) for row in error_catalogue.rows() if row.kind}
    listed -= {(sentence, kind) for sentence, kind in listed if kind in ("JobFailed", "JobLost")}
    raised = {(site.sentence, site.kind): site.where for site in [*sites, *error_catalogue.refusals()]}
    missing = "\n".join(
        f"   * - ``{sentence}``\n     - the cause\n     - the next step of {where}\n     - ``{kind}``\n       (test_y)"
        for (sentence, kind), where in raised.items()
        if (sentence, kind) not in listed
    )
    assert not missing, f"add to docs/errors.rst, with the test that raises each:\n{missing}"
    stale = listed - set(raised)
    assert not stale, f"rows of docs/errors.rst that the code no longer raises: {stale}"


def test_each_refusal_of_a_host_has_a_code_a_next_step_and_a_row():
    known = {row.sentence for row in error_catalogue.rows()}
    for refusal in error_catalogue.refusals():
        assert refusal.sentence in known, (
            f"{refusal.where} refuses with {refusal.sentence!r}: add it to docs/errors.rst"
        )
        assert refusal.code in NEXT_STEPS, f"{refusal.where} refuses with {refusal.code!r}, which has no next step"
    unused = set(NEXT_STEPS) - {refusal.code for refusal in error_catalogue.refusals()}
    assert not unused, f"no script refuses with these codes any more: {unused}"


def test_the_reasons_of_outcomes_have_rows():
    listed = [row for row in error_catalogue.rows() if not row.kind]
    sources = error_catalogue.reasons()
    for path, text in sources:
        assert any(row.sentence in text for row in listed), f"{path} gives a reason without a row: {text}"
    for row in listed:
        assert any(row.sentence in text for _, text in sources), f"no script gives this reason any more: {row.sentence}"


def test_each_bad_end_has_a_row():
    known = [row.sentence for row in error_catalogue.rows() if row.kind in ("JobFailed", "JobLost")]
    for state in ("failed", "killed", "timed_out", "cancelled", "lost"):
        message = f"it {Outcome(state, exit_code=3, signal='KILL')}"
        assert any(message.startswith(sentence) for sentence in known), message


def test_each_row_names_an_existing_test():
    for row in error_catalogue.rows():
        assert row.cause, row.sentence
        assert row.next_step, row.sentence
        if row.kind:
            assert row.test in error_catalogue.all_test_names(), f"{row.sentence}: there is no test {row.test}"
