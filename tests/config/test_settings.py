"""Settings: sources, precedence and validation. No host is contacted."""

from __future__ import annotations

import dataclasses
import warnings

import luigi
import luigi.configuration
import pytest
from luigi.cmdline_parser import CmdlineParser
from luigi.scheduler import Scheduler

from luigi_sshjob import RemoteContext, RemoteJobTask, config
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers import registry
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.tasks.options import JobOptions

_PARSERS = {"cfg": luigi.configuration.LuigiConfigParser, "toml": luigi.configuration.LuigiTomlParser}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that installs a text as Luigi's configuration, for either parser."""

    def written(text: str, kind: str = "cfg") -> None:
        path = tmp_path / f"luigi.{kind}"
        path.write_text(text)
        monkeypatch.setenv("LUIGI_CONFIG_PARSER", kind)
        monkeypatch.setattr(_PARSERS[kind], "_config_paths", [str(path)])
        monkeypatch.setattr(_PARSERS[kind], "_instance", None)

    return written


class Declared(RemoteJobTask):
    host = "box"

    def command(self):
        return "true"


class Asked(luigi.Task):
    """For a command line."""


LAYERS = """
[sshjob]
poll_interval = 1
time_limit = 1
kill_grace = 1
max_jobs = 1
log_lines = 1

[sshjob.me@box:22]
log_lines = 5

[sshjob.box]
time_limit = 2
kill_grace = 2
max_jobs = 2
log_lines = 2

[sshjob.me@box]
max_jobs = 4
log_lines = 4

[sshjob.box:22]
kill_grace = 3
max_jobs = 3
log_lines = 3
"""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("box", (1, 2, 2, 2, 2)),
        ("you@box", (1, 2, 2, 2, 2)),
        ("box:22", (1, 2, 3, 3, 3)),
        ("me@box", (1, 2, 2, 4, 4)),
        ("me@box:22", (1, 2, 3, 4, 5)),
        ("me@box:23", (1, 2, 2, 4, 4)),
        ("Box", (1, 1, 1, 1, 1)),
        ("box.example.org", (1, 1, 1, 1, 1)),
        (None, (1, 1, 1, 1, 1)),
    ],
)
def test_the_most_specific_section_of_a_host_wins(written, host, expected):
    written(LAYERS)
    found = config.get_settings(host)
    names = ("poll_interval", "time_limit", "kill_grace", "max_jobs", "log_lines")
    assert tuple(getattr(found, name) for name in names) == expected
    assert found.base_dir == "~/.luigi-sshjob"


def test_a_host_has_the_same_settings_however_a_task_spells_it(written):
    written(LAYERS)
    for host, options in [("me@box:22", {}), ("box", {"username": "me", "port": "22"}), ("box:22", {"username": "me"})]:
        connection = RemoteContext(host, key_file="/x", **options).connection
        assert connection.settings is config.get_settings("me@box:22")

    class Spelled(Declared):
        ssh_options = {"username": "me", "port": 22}

    assert JobOptions.of(Spelled()).kill_grace == 3


def test_an_attribute_overrides_the_command_line_which_overrides_the_files(written):
    written(LAYERS)

    class Own(Declared):
        kill_grace = 9

    with CmdlineParser.global_instance(["Asked", "--sshjob-kill-grace", "7", "--sshjob-time-limit=8"]):
        assert (config.get_settings("box").kill_grace, config.get_settings("box").time_limit) == (7, 8)
        assert config.get_settings("box").max_jobs == 2
        options = JobOptions.of(Own())
        assert (options.kill_grace, options.time_limit) == (9, 8)
        assert config.sshjob().kill_grace == 7
    assert config.get_settings("box").kill_grace == 2
    with (
        CmdlineParser.global_instance(["Asked", "--sshjob-kill-grace", "soon"]),
        pytest.raises(ConfigurationError, match=r"--sshjob-kill-grace: 'soon'\nNext: give a number of seconds, 0 or"),
    ):
        config.get_settings()


def test_a_changed_configuration_is_used_at_the_next_call(written):
    written(LAYERS)
    assert config.get_settings("box").time_limit == 2
    luigi.configuration.get_config().set("sshjob.box", "time_limit", "6")
    assert config.get_settings("box").time_limit == 6


def test_settings_are_immutable(written):
    written(LAYERS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.get_settings("box").time_limit = 3
    assert config.get_settings("box") is config.get_settings("box")


def test_default_section_is_accepted_and_does_not_override_the_common_settings(written, monkeypatch):
    monkeypatch.setenv("SECONDS_TO_LIVE", "20")
    written(
        "[DEFAULT]\nstamp = %d\ntime_limit = ${SECONDS_TO_LIVE}\npoll-interval = 4\nlog_lines = 1\n"
        "[sshjob]\nlog_lines = 2\n[sshjob.box]\nkill-grace = ${SECONDS_TO_LIVE}\ncleanup = always\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = config.get_settings("box")
    assert (found.time_limit, found.poll_interval, found.log_lines, found.kill_grace) == (20, 4, 2, 20)
    assert (found.cleanup, config.get_settings("other").cleanup) == ("always", "never")


@pytest.mark.parametrize("section", ["sshjob.[2001:db8::1]:22", "sshjob.me@[2001:db8::1]", "sshjob.2001:db8::1"])
def test_a_section_may_name_a_host_by_any_address(written, section):
    written(f"[{section}]\ntime_limit = 5\n")
    assert config.get_settings("me@[2001:db8::1]:22").time_limit == 5


def test_toml_accepts_its_own_types(written):
    written(
        "[sshjob]\ntime_limit = 5\nkill_grace = 2.5\n[sshjob.box.example.org]\ntime_limit = 6\nmax_jobs = 2\n"
        '[sshjob."me@box:22"]\ntime_limit = 7\n["sshjob.flat"]\ntime_limit = "8"\n[resources]\n"flat" = 3\n',
        "toml",
    )
    limits = [config.get_settings(host).time_limit for host in ("x", "box.example.org", "me@box:22", "flat")]
    assert limits == [5, 6, 7, 8]
    assert config.get_settings("box.example.org").kill_grace == 2.5
    assert config.resources() == {"flat"}
    for wrong in ("time_limit = true", "max_jobs = 2.5", "base_dir = 3", "cleanup = ['never']", "time_limit = nan"):
        written(f"[sshjob.box]\n{wrong}\n", "toml")
        message = rf"host box: .* {wrong.split()[0]} in \[sshjob.box\]: .*\nNext: "
        with pytest.raises(ConfigurationError, match=message):
            config.get_settings()


NUMBERS = ["-1", "nan", "inf", "-inf", "1e99", "soon", "", "5 s", "0x10"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (f"[sshjob]\ntime_limit = {n}", r"time_limit in \[sshjob\]: .*\nNext: give a number of sec")
            for n in NUMBERS
        ),
        *(
            (f"[sshjob.box]\nmax_jobs = {n}", r"host box: .*max_jobs in \[sshjob.box\].*\nNext: give a whol")
            for n in NUMBERS
        ),
        ("[sshjob]\nmax_sessions = 8.5", r"max_sessions in \[sshjob\]: '8.5'\nNext: give a whole number, above 0"),
        ("[sshjob]\nconnect_attempts = 0", "connect_attempts .*: '0'"),
        ("[sshjob]\npoll_interval = 0", r"poll_interval .*: '0'\nNext: give a number of seconds, above 0"),
        (
            "[sshjob]\npoll_intervall = 1",
            r"unknown configuration setting: poll_intervall in \[sshjob\]; did you mean poll_interval\?",
        ),
        (
            "[sshjob]\nPoll_Interval = 1",
            r"setting: Poll_Interval .*; did you mean poll_interval\?\nNext: use poll_interval, or",
        ),
        (
            "[sshjob]\nxyz = 1",
            r"setting: xyz in \[sshjob\]\nNext: use one of base_dir, .*remote_jobs, .*max_sessions$",
        ),
        (
            "[sshjob.other]\nkill_grase = 1",
            r"host other: .*\[sshjob.other\]; did you mean kill_grace\?\nNext: use kill_grace,",
        ),
        ("[sshjob.box]\nremote_job = 1", r"host box: .*: remote_job in (?!.*remote_jobs)"),
        ("[sshjob.box]\nremote_jobs = 1", r"host box: .*: remote_jobs in .*one worker.*\nNext: move it to \[sshjob\]"),
        (
            "[sshjob.box]\nruntime_dir = /x",
            r"host box: .*: runtime_dir in \[sshjob.box\]; .*\nNext: move",
        ),
        ("[sshjob.box]\nkill-grace = 1\nkill_grace = 2", "host box: .* with - and with _: kill_grace"),
        ("[sshjob]\ncleanup = Always", r"'Always'\nNext: give one of never, on_success, always"),
        ("[sshjob]\nlauncher = pbs", r"launcher in \[sshjob\]: 'pbs'\nNext: give one of nohup, slurm"),
        ("[sshjob.box]\ntransport = telnet", r"'telnet'\nNext: give one of auto, openssh, paramiko, local"),
        ("[sshjob]\nbase_dir =", "base_dir .*''\nNext: give non-empty text of one line"),
        ("[sshjob]\nbase_dir = /data\n  time_limit = 5", r"time_limit = 5'\nNext: give non-empty text of one line"),
        ("[sshjob]\nbase_dir = ${NOT_SET_HERE}", "NOT_SET_HERE.*\nNext: set the variable"),
        ("[sshjob]\nbase_dir = %(nothing)s", "cannot expand a reference .*nothing"),
        ("[sshjob:box]\ntime_limit = 1", r"\[sshjob:box\]\nNext: rename it to \[sshjob.box\]"),
        ("[sshjobs.box]\ntime_limit = 1", r"\[sshjobs.box\]\nNext: rename it to \[sshjob.box\]"),
        ("[sshjobs]\ntime_limit = 1", r"unknown configuration section: \[sshjobs\]\nNext: rename it to \[sshjob"),
        ("[sshjob ]\ntime_limit = 1", r"unknown configuration section: \[sshjob \]"),
        ("[sshjob.]\ntime_limit = 1", r"\[sshjob.\]: invalid host name: ''\nNext: use an alias"),
        ("[sshjob.-oProxyCommand=x]\ntime_limit = 1", "invalid host name"),
        ("[sshjob.my box]\ntime_limit = 1", "invalid host name: 'my box'"),
        ("[sshjob.box:99999]\ntime_limit = 1", "invalid port number: 99999"),
    ],
)
def test_unknown_sections_keys_and_values_are_refused_with_what_is_valid(written, text, message):
    written(f"{text}\n")
    with pytest.raises(ConfigurationError, match=f"(?s){message}"):
        config.get_settings("box")


SHELL_TEXT = 'module load gcc/13\nif true; then\nexport PATH="${HOME}/bin:$PATH" DATE=$(date +%F%%)\nfi\n\ncd "%(x)s"'


def test_a_setup_has_several_lines_and_nothing_in_it_refers_to_this_machine(written):
    indented = SHELL_TEXT.replace("\n", "\n    ").replace("export", "    export")
    more = "modules = gcc/13\n  openmpi\nmax_jobs = 3\n"
    written(f"[sshjob]\nlogin_shell = true\n[sshjob.box]\nsetup = {indented}\n{more}")
    expected = Setup(SHELL_TEXT, ("gcc/13", "openmpi"), login_shell=True)
    assert JobOptions.of(Declared()).setup == expected
    assert config.get_settings("box").max_jobs == 3
    written(f"[sshjob.box]\nsetup =\n  {indented}\n")
    assert config.get_settings("box").setup == f"\n{SHELL_TEXT}"
    # TOML has types of its own
    more = "modules = ['gcc/13', 'openmpi']\nlogin_shell = true\n"
    written(f"[sshjob.box]\nsetup = '''{SHELL_TEXT}'''\n{more}", "toml")
    assert JobOptions.of(Declared()).setup == expected
    for wrong in ("setup = 3", "modules = [3]", "login_shell = 1"):
        written(f"[sshjob.box]\n{wrong}\n", "toml")
        with pytest.raises(ConfigurationError, match=rf"{wrong.split()[0]} in \[sshjob.box\]"):
            config.get_settings()


def test_an_attribute_replaces_the_setting_of_the_same_name_only(written):
    class Own(Declared):
        setup = ""
        modules = ["r"]

    class Plain(Own):
        modules = None
        login_shell = False

    written("[sshjob]\nsetup = a\nmodules = b\nlogin_shell = true\n")
    assert JobOptions.of(Own()).setup == Setup("", ("r",), login_shell=True)
    assert JobOptions.of(Plain()).setup == Setup("", ("b",))


def test_sections_with_a_similar_name_are_ignored(written):
    written("[sshjobs]\nanything = 1\n[sshjob_report]\nto = me\n")
    assert config.get_settings("box") == config.Settings()


def test_luigi_declares_every_setting_with_its_description_and_unit():
    assert list(config.SETTINGS) == [name for name, _ in config.sshjob.get_params()]
    for name, parameter in config.sshjob.get_params():
        setting = config.SETTINGS[name]
        assert parameter.description.startswith(setting.description)
        assert setting.description.endswith(".")
        # the default must pass its own rules
        assert setting.parse(setting.default) == setting.default
        seconds = name.endswith(("_interval", "_limit", "_grace", "_timeout", "_persist"))
        assert bool(setting.unit) == (seconds and name not in ("memory_limit", "cpu_limit"))


def test_the_choices_of_launcher_and_transport_are_the_registered_ones():
    assert config.SETTINGS["launcher"].choices == registry.NAMES
    assert config.SETTINGS["transport"].choices == config.TRANSPORTS


class Bounded(Declared):
    host = luigi.Parameter()
    resources = {"licence": 2}


@pytest.mark.parametrize(
    ("text", "host", "expected"),
    [
        ("", "box", {}),
        ("[resources]\nother = 4", "box", {}),
        ("[DEFAULT]\nbox = 4\n[resources]\nother = 4", "box", {}),
        ("[resources]\nbox = 4", "box", {"box": 1}),
        ("[resources]\nbox = 4", "me@box:22", {"box": 1}),
        ("[resources]\nbox = 4", "Box", {}),
        ("[resources]\nbox-1.example.org = 4", "box-1.example.org", {"box-1.example.org": 1}),
        ("[resources]\nme@box_22 = 4\nbox_22 = 5\nme@box=6", "me@box:22", {"me@box_22": 1, "box_22": 1, "me@box": 1}),
        ("[resources]\n2001_db8__1_22 = 4", "[2001:db8::1]:22", {"2001_db8__1_22": 1}),
        ("[sshjob]\nmax_jobs = 2", "me@box:22", {"sshjob.box_22": 0.4}),
        ("[sshjob.box]\nmax_jobs = 2\n[resources]\nbox = 4", "box", {"sshjob.box": 0.4, "box": 1}),
        ("[sshjob]\nmax_jobs = 2\n[sshjob.box]\nmax_jobs = 0", "box", {}),
        ("[sshjob]\nmax_jobs = -1", "box", {}),
    ],
)
def test_a_task_requests_a_resource_of_its_host_only_if_there_is_a_limit(written, text, host, expected):
    written(f"{text}\n")
    assert Bounded(host).process_resources() == {"licence": 2, **expected}


def test_resources_of_a_task_override_those_of_its_host(written):
    class Heavy(Declared):
        resources = {"box": 3}

    class Homeless(Declared):
        host = None
        resources = {"licence": 1}

    written("[resources]\nbox = 4\n")
    assert Heavy().process_resources() == {"box": 3}
    assert Homeless().process_resources() == {"licence": 1}


@pytest.mark.parametrize("most", [1, 2, 7, 49, 100])
def test_an_unconfigured_scheduler_runs_exactly_max_jobs(written, most):
    written(f"[sshjob.box]\nmax_jobs = {most}\n")
    scheduler = Scheduler()
    requested = Declared().process_resources()
    for number in range(most + 2):
        scheduler.add_task(worker="w", task_id=f"task-{number}", resources=requested)
    running = []
    while work := scheduler.get_work(worker="w")["task_id"]:
        running.append(work)
    assert len(running) == most
    scheduler.add_task(worker="w", task_id=running[0], status="DONE")
    assert scheduler.get_work(worker="w")["task_id"]
    assert not scheduler.get_work(worker="w")["task_id"]
