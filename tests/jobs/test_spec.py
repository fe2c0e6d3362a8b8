"""Job specifications: what is invalid is an error, and text reaches the host unchanged."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_sshjob.errors import ConfigurationError, UnsafeValue
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.jobs.spec import JobSpec, Output, parse_parameters
from luigi_sshjob.remote import quoting

SETUPS = (Setup(), Setup("\n"), Setup("a"), Setup("b"), Setup("a", ("b",)), Setup("", ("a", "b")), Setup("a", (), True))

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def sh(script: str) -> bytes:
    return subprocess.run(["sh", "-s"], input=quoting.encode(script), capture_output=True, check=True).stdout


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9]{1,8}x", fullmatch=True), text))
def test_an_environment_file_gives_each_value_unchanged(environment):
    request = JobSpec(key="k", command="x", environment=environment)
    printed = "".join(f'printf "%s\\0" "${name}"\n' for name in environment)
    values = sh(f"{request.environment_text()}\n{printed}").split(b"\0")[:-1]
    assert values == [quoting.encode(value) for value in environment.values()]


@pytest.mark.parametrize("command", ["", "  \n", None, 3, b"true", "a\0b"])
def test_an_invalid_command_is_an_error(command):
    with pytest.raises(ConfigurationError, match="Next: "):
        JobSpec(key="k", command=command)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "SSHJOB_ID", "UID", 3])
def test_an_invalid_environment_name_is_an_error(name):
    with pytest.raises(ConfigurationError, match="Next: "):
        JobSpec(key="k", command="x", environment={name: "value"})


@pytest.mark.parametrize("value", ["sec\0ret", 42, None, b"secret"])
def test_an_invalid_environment_value_is_an_error_that_does_not_show_it(value):
    with pytest.raises(ConfigurationError) as caught:
        JobSpec(key="k", command="x", environment={"TOKEN": value})
    assert "TOKEN" in str(caught.value)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"time_limit": -1},
        {"time_limit": float("nan")},
        {"kill_grace": -1},
        {"success_exit_codes": ()},
        {"success_exit_codes": (256,)},
        {"outputs": (Output("SSHJOB_OUTPUT_A", "x"), Output("SSHJOB_OUTPUT_A", "y"))},
    ],
)
def test_invalid_options_are_an_error(options):
    with pytest.raises(ConfigurationError, match="Next: "):
        JobSpec(key="k", command="x", **options)


def test_secrets_are_in_no_representation():
    assert "hunter2" not in repr(JobSpec(key="k", command="x", environment={"TOKEN": "hunter2"}))
    assert "hunter2" not in repr(JobSpec(key="k", command="x", setup=Setup("export TOKEN=hunter2")))


def test_a_nul_in_a_path_is_refused():
    with pytest.raises(UnsafeValue):
        JobSpec(key="k", command="x", working_directory="/a\0b")


def test_a_job_without_a_setup_has_the_digests_of_earlier_versions():
    """So a job that runs during an upgrade is recognised."""
    options = {"environment": {"A": "b"}, "working_directory": "work", "outputs": (Output("SSHJOB_OUTPUT", "out"),)}
    found = [JobSpec(key="Task", command="true", **options, setup=setup).digests for setup in SETUPS]
    assert found[0] == (
        "b5bea41b6c623f7c09f1bf24dcae58ebab3c0cdd90ad966bc43a45b44867e12b "
        "06960a4f4865b1976ca13670213d1fcf563b4824255fd0027c3aa62669d28d6e"
    )
    assert found[1] == found[0]
    assert len(set(found)) == len(SETUPS) - 1


def test_task_ids_become_directory_names_one_to_one():
    plain = "ns.CountWords_alice_0a1b2c3d4e"
    assert job_key(plain) == plain
    hostile = ["a/b", "a b", "..", "", "日本", "x" * 300, "x" * 301, "a\nb", "-rf"]
    keys = [job_key(task_id) for task_id in hostile]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 150 and "/" not in key and key[0] not in ".-" for key in keys)


def test_the_first_field_of_a_record_counts():
    """A line break in a value must not be able to pass for a field."""
    assert Outcome.parse("outcome: failed\nexit_code: 3\nreason: x\noutcome: succeeded\n").state == "failed"


@pytest.mark.parametrize("command", ["\n  #!/usr/bin/env python3\nx", "#!/bin/sh\r\nx\r\n"])
def test_an_invalid_interpreter_line_is_an_error(command):
    with pytest.raises(ConfigurationError, match="Next: begin the text with #!"):
        JobSpec(key="k", command=command)


def test_a_damaged_spec_or_one_of_an_earlier_version_has_no_parameters():
    for text in ("", "{", "[1]", '"x"'):
        assert parse_parameters(text) == {}
    assert parse_parameters('{"count": 3}') == {"count": "3"}
