"""What is refused before anything is sent, and the parts that need no host."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import threading
import time

import luigi
import luigi.contrib.ssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_sshjob import RemoteJobTask, RemoteTarget
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, JobFailed, RemoteCommandFailed, UnsafeValue
from luigi_sshjob.jobs.model import Outcome, job_key
from luigi_sshjob.jobs.recent import JobLocation, recent_locations, remember
from luigi_sshjob.jobs.spec import JobSpec, Output
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.tasks.log_lines import LogLines

from support.settings import configure

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def sh(script: str) -> bytes:
    return subprocess.run(["sh", "-s"], input=quoting.encode(script), capture_output=True, check=True).stdout


@given(text)
def test_a_quoted_value_is_that_value_for_a_real_shell(value):
    assert sh(f"printf %s {quoting.quote(value)}") == quoting.encode(value)
    assert sh(quoting.one_line(f"printf %s {quoting.quote(value)}")) == quoting.encode(value)


@given(text.filter(bool))
def test_a_quoted_path_is_that_path_or_below_the_home(value):
    expected = value
    if value == "~" or value.startswith("~/"):
        expected = "/home/me" + value[1:]
    elif value.startswith("-"):
        expected = "./" + value
    if not value.startswith("~") or value[:2] in ("~", "~/"):
        assert sh(f"HOME=/home/me; printf %s {quoting.quote_path(value)}") == quoting.encode(expected)


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


@pytest.mark.parametrize(
    "host", ["box", "box:22", "ann@box:22", "fe80::1", "ann@fe80::1", "[fe80::1]:22", "ann@[::1]:22"]
)
def test_a_destination_that_was_written_down_is_the_same(host):
    assert str(Destination.parse(host, {})) == host
    assert Destination.parse(str(Destination.parse(host, {})), {}) == Destination.parse(host, {})


def test_recent_locations_survive_many_threads_and_a_broken_file(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "luigi-sshjob").mkdir()
    (tmp_path / "luigi-sshjob" / "hosts.json").write_text("[{]")
    noted = [JobLocation(f"box{number}", "~/jobs") for number in range(15)]
    threads = [threading.Thread(target=remember, args=(place,)) for place in noted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(recent_locations()) == set(noted)
    assert [path.name for path in (tmp_path / "luigi-sshjob").iterdir()] == ["hosts.json"]


def test_a_nul_in_a_path_is_refused():
    with pytest.raises(UnsafeValue):
        JobSpec(key="k", command="x", working_directory="/a\0b")


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


class Declared(RemoteJobTask):
    host = "box"

    def command(self):
        return "true"


def test_a_missing_or_invalid_attribute_is_an_error(luigi_cfg):
    class NoHost(Declared):
        host = None

    class CommandMissing(RemoteJobTask):
        host = "box"

    class BadCleanup(Declared):
        cleanup = "sometimes"

    class BadLauncher(Declared):
        launcher = "pbs"

    for task in (NoHost(), BadCleanup(), BadLauncher()):
        with pytest.raises(ConfigurationError, match="Next: "):
            task.run()
    with pytest.raises(NotImplementedError, match="must override command"):
        CommandMissing().run()


def test_attributes_may_be_parameters_properties_or_defaults_of_the_section(luigi_cfg):
    class Mixed(Declared):
        time_limit = luigi.FloatParameter(default=60)

        @property
        def environment(self):
            return {"A": "b"}

    configure(kill_grace=3)
    spec = Mixed().prepare_run().spec.spec_text()
    assert "time_limit=60" in spec
    assert "kill_grace=3" in spec
    assert Mixed().prepare_run().spec.environment == {"A": "b"}


@pytest.mark.parametrize(
    ("setting", "value"), [("poll_interval", 0), ("max_sessions", "-1"), ("cleanup", "x"), ("time_limit", "soon")]
)
def test_an_invalid_setting_is_an_error_of_the_task(luigi_cfg, setting, value):
    configure(**{setting: value})
    with pytest.raises(ConfigurationError, match=r"\[sshjob\]"):
        Declared().complete()


def test_outputs_get_a_variable_each(luigi_cfg):
    class One(Declared):
        def output(self):
            return self.remote_target("/data/one")

    class Several(Declared):
        def output(self):
            return {
                "counts": self.remote_target("/data/counts"),
                "top-10": self.remote_target("/data/top"),
                "parts": [self.remote_target("/data/p0"), self.remote_target("/data/p1")],
            }

    class JobSummary(Declared):
        def output(self):
            return [self.remote_target("/data/a"), self.remote_target("/data/b")]

    def outputs(task):
        return [(output.variable, output.path) for output in task.prepare_run().spec.outputs]

    assert outputs(Declared()) == []
    assert Declared().prepare_run().spec.publish
    assert outputs(One()) == [("SSHJOB_OUTPUT", "/data/one")]
    assert not One().prepare_run().spec.publish
    assert outputs(Several()) == [
        ("SSHJOB_OUTPUT_COUNTS", "/data/counts"),
        ("SSHJOB_OUTPUT_TOP_10", "/data/top"),
        ("SSHJOB_OUTPUT_PARTS_0", "/data/p0"),
        ("SSHJOB_OUTPUT_PARTS_1", "/data/p1"),
    ]
    assert outputs(JobSummary()) == [("SSHJOB_OUTPUT_0", "/data/a"), ("SSHJOB_OUTPUT_1", "/data/b")]


def test_outputs_next_to_the_default_ones_keep_their_keys(luigi_cfg):
    class More(Declared):
        def output(self):
            return {**super().output(), "data": self.remote_target("/data/x")}

    request = More().prepare_run().spec
    assert request.publish
    assert [(output.variable, output.path) for output in request.outputs] == [("SSHJOB_OUTPUT_DATA", "/data/x")]


@pytest.mark.parametrize(
    "target",
    [luigi.LocalTarget("/tmp/x"), RemoteTarget("/x", "other"), luigi.contrib.ssh.RemoteTarget("/x", "box")],
)
def test_an_output_that_the_command_cannot_make_is_an_error(luigi_cfg, target):
    class Elsewhere(Declared):
        def output(self):
            return {"there": self.remote_target("/data/x"), "elsewhere": target}

    class MakesItItself(Elsewhere):
        def run(self):
            super().run()

    with pytest.raises(ConfigurationError, match=r"not on the job's host[\s\S]*self.remote_target"):
        Elsewhere().prepare_run()
    assert [output.path for output in MakesItItself().prepare_run().spec.outputs] == ["/data/x"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("time_limit", "1h"),
        ("kill_grace", "soon"),
        ("poll_interval", 0),
        ("poll_interval", "x"),
        ("success_exit_codes", "no"),
        ("environment", ["A=b"]),
    ],
)
def test_an_invalid_attribute_is_an_error_before_anything_is_sent(luigi_cfg, attribute, value):
    task = type("Odd", (Declared,), {attribute: value})()
    with pytest.raises(ConfigurationError, match=r"host box, job Odd_[\s\S]*Next: "):
        task.run()


def test_times_may_be_timedeltas_and_one_exit_code_a_number(luigi_cfg):
    class Timed(Declared):
        time_limit = datetime.timedelta(minutes=2)
        success_exit_codes = 3

    request = Timed().prepare_run().spec
    assert (request.time_limit, request.success_exit_codes) == (120, (3,))


@pytest.mark.parametrize("command", ["\n  #!/usr/bin/env python3\nx", "#!/bin/sh\r\nx\r\n"])
def test_an_invalid_interpreter_line_is_an_error(command):
    with pytest.raises(ConfigurationError, match="Next: begin the text with #!"):
        JobSpec(key="k", command=command)


def test_a_lock_is_free_when_released_also_if_a_fork_copied_it(tmp_path):
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        assert not FileLock(tmp_path / "lock").try_acquire()
        lock.release()
        assert FileLock(tmp_path / "lock").try_acquire()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def stream(pieces: list[bytes], limit: int = 100) -> list[str]:
    lines: list[str] = []
    log = LogLines(lines.append, limit, "see there", clock=lambda: 0)
    for piece in pieces:
        log.feed(piece)
    log.finish()
    return lines


@given(st.binary(), st.integers(1, 7))
def test_a_log_cut_anywhere_gives_the_same_lines(data, size):
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert stream(pieces, 1000) == stream([data], 1000)


def test_log_lines_are_shown_as_a_person_would_see_them():
    assert stream([b"10%\r20%\r100%\nd\xc3", b"\xa9j\xff\nno newline"]) == [
        "100%",
        "déj\N{REPLACEMENT CHARACTER}",
        "no newline",
    ]


def test_the_number_of_log_lines_is_limited():
    lines: list[str] = []
    now = 0.0
    log = LogLines(lines.append, 10, "see there", clock=lambda: now)
    log.feed(b"x\n" * 8)
    log.feed(b"y\n" * 1000)
    log.feed(b"z\n" * 1000)
    assert lines == ["x"] * 8 + ["(998 lines left out here; see there)"] + ["y"] * 2
    now = 60.0
    log.feed(b"next minute\n")
    assert lines[11:] == ["(1000 lines left out here; see there)", "next minute"]
    log.feed(b"z\n" * 1000)
    log.finish()
    assert len(lines) == 13 + 10
    assert lines[13] == "(991 lines left out here; see there)"


def test_errors_name_host_job_and_the_next_step():
    error = JobFailed("it failed", host="box", job="Task/1", next_step="look")
    assert str(error) == "host box, job Task/1: it failed\nNext: look"
    assert str(RemoteCommandFailed("no", host="box", returncode=2)) == "host box: no"
