"""Options for qsub, and the lines that a shell evaluates; no engine is needed."""

from __future__ import annotations

import re
import shlex
import subprocess
from datetime import timedelta

import pytest

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.sge import SGE
from luigi_sshjob.jobs.launchers.sge_options import option_words

from support.launch_lines import submit_line

RESERVED = ["t", "N", "wd", "cwd", "o", "e", "i", "j", "S", "b", "C", "terse", "sync", "now", "verify", "shell", "ckpt"]
RESERVED += ["c", "clear", "jsv", "help", "I", "noshell", "verbose", "inherit", "@"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"q": "long.q", "P": "physics", "p": -10}, "-q long.q -P physics -p -10"),
        ({"pe": "smp 4"}, "-pe smp 4"),
        ({"pe": ("smp", 4)}, "-pe smp 4"),
        ({"pe": "smp 4-8"}, "-pe smp 4-8"),
        ({"l": "h_vmem=2G,gpu"}, "-l h_vmem=2G,gpu"),
        ({"l": ["h_vmem=2G", "gpu"]}, "-l h_vmem=2G,gpu"),
        ({"l": {"h_vmem": "2G", "gpu": True, "x": None, "y": False}}, "-l h_vmem=2G,gpu"),
        ({"l": {"h_rt": timedelta(hours=1)}}, "-l h_rt=3600"),
        (
            {"hold_jid": [12, "other"], "M": ["a@b.example", "c@d.example"]},
            "-hold_jid 12,other -M a@b.example,c@d.example",
        ),
        ({"v": {"FRUIT": "apple", "HOME": True}}, "-v FRUIT=apple,HOME"),
        ({"R": True, "V": True, "h": True, "soft": None, "notify": False}, "-R y -V -h"),
        ({"binding": "env linear:1", "w": "e"}, "-binding env linear:1 -w e"),
    ],
)
def test_options_become_words(options, words):
    assert [word for option in option_words(options) for word in option] == words.split()


@pytest.mark.parametrize(
    "options",
    [
        ["-q", "long.q"],
        {"": "x"},
        {"-q": "long.q"},
        {"q -t": "1-3"},
        {1: "x"},
        {"q": True},
        {"q": ""},
        {"q": "-t"},
        {"q": "long.q\n-t 1-3"},
        {"q": object()},
        {"l": {"a": "1,b=2"}},
        {"l": {"a=1": 2}},
        {"l": [True]},
        {"pe": "smp"},
        {"pe": "smp 4 -t"},
        {"V": "x"},
        {"notify": "y"},
        {"h": "u"},
        {"w": "v"},
        {"w": "p"},
        {"v": "SGE_TASK_ID=3"},
        {"v": {"FRUIT": "apple", "JOB_ID": "3"}},
        {"v": "FRUIT,RESTARTED"},
        *({name: "y"} for name in RESERVED),
        *({name: True} for name in RESERVED),
    ],
)
def test_options_that_would_submit_something_else_are_refused(options):
    with pytest.raises(ConfigurationError):
        SGE.launch(LaunchOptions(options))


def test_batch_must_be_a_positive_integer():
    for batch in (0, -1, 1.5, "3", None):
        with pytest.raises(ConfigurationError, match="batch"):
            SGE.launch(LaunchOptions(batch=batch))


def submitted(options, count=1, **values):
    """The words that qsub receives."""
    variables = {"key": "Key_1.x", "attempt": 2, "suffix": "", "tag": 123, "base": "/base", "count": count, "last": ""}
    if count > 1:
        variables |= {"suffix": f"+{count - 1}.17", "last": count - 1}
    variables |= values
    script = "".join(f"{name}={shlex.quote(str(value))}; " for name, value in variables.items())
    script += "qsub() { false; }; alias qsub=false; set -- '/a b/entry' '$HOME' \"it's\"; " + submit_line(
        SGE.launch(options)
    )
    # `command printf` in place of `command qsub`
    script = script.replace("command qsub ", "command printf '%s\\n' ")
    for shell in ("bash", "dash"):
        ran = subprocess.run([shell, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
        words = ran.stdout.splitlines()
    assert words[-3:] == ["/a b/entry", "$HOME", "it's"]
    return words[:-3]


FIXED = ["-terse", "-S", "/bin/sh", "-b", "n", "-C", "", "-j", "n", "-o", "/dev/null", "-e", "/dev/null"]


def test_qsub_gets_the_name_and_the_directory():
    words = [*FIXED, "-N", "j.Key_1.x.2.123", "-wd", "/base", "-r", "n", "-notify"]
    assert submitted(LaunchOptions()) == words
    assert submitted(LaunchOptions({"q": "a b's"})) == [*words, "-q", "a b's"]
    assert submitted(LaunchOptions(), base="/a b,c:d")[-5:] == ["-wd", "/a b,c:d", "-r", "n", "-notify"]
    # qsub would expand it
    assert submitted(LaunchOptions(), base="/a$b")[-5:] == ["-wd", "/", "-r", "n", "-notify"]


def test_several_jobs_are_an_array():
    words = submitted(LaunchOptions(batch=200), count=3)
    assert words[len(FIXED) : -3] == ["-N", "j.Key_1.x.2+2.17.123", "-wd", "/base", "-t", "1-3"]


def test_a_second_run_is_forbidden_unless_asked_for():
    for options, words, requeue in (
        ({}, "-r n -notify", False),
        ({"r": None}, "-r n -notify", False),
        ({"r": False}, "-r n -notify", False),
        ({"r": "n"}, "-notify -r n", False),
        ({"r": True}, "-notify -r y", True),
        ({"r": "yes", "notify": True}, "-r yes -notify", True),
        ({"notify": False}, "-r n", False),
    ):
        assert submitted(LaunchOptions(options))[len(FIXED) + 4 :] == words.split(), options
        assert SGE.launch(LaunchOptions(options)).requeue is requeue


@pytest.mark.parametrize(
    ("given", "sets"),
    [
        (None, True),
        ("mem_free=1G", True),
        ("foo_h_rt=3", True),
        ("h_rt=1:0:0", False),
        ("mem_free=1G,s_rt=60", False),
        ({"mem_free": "1G", "h_rt": 60}, False),
    ],
)
def test_a_time_limit_is_set_beyond_that_of_the_task(given, sets):
    words = submitted(LaunchOptions({"l": given}, time_limit=100.5, kill_grace=10))
    assert ("h_rt=171" in words) is sets


@pytest.mark.parametrize(
    ("variables", "values"),
    [
        ("JOB_ID=47 SGE_TASK_ID=undefined RESTARTED=0", "47 0 0"),
        ("JOB_ID=47 RESTARTED=1", "47 0 1"),
        ("JOB_ID=47 SGE_TASK_ID=1 RESTARTED=0", "47.1 0 0"),
        ("JOB_ID=47 SGE_TASK_ID=10 RESTARTED=0", "47.10 9 0"),
    ],
)
def test_a_job_knows_its_id_on_the_node(variables, values):
    for shell in ("bash", "dash"):
        script = f"{variables.replace(' ', '; ')}; set -- '{SGE.job_id}' '{SGE.index}' '{SGE.restarts}'; "
        script += 'for expression; do eval "value=$expression"; printf "%s " "$value"; done'
        ran = subprocess.run([shell, "-uc", script], stdout=subprocess.PIPE, text=True, check=True)
        assert ran.stdout.split() == values.split()


@pytest.mark.parametrize("line", ["listing", "query", "history", "cancel"])
def test_lines_are_for_every_shell_and_run_no_alias(line):
    text = getattr(SGE, line)
    for shell in ("bash", "dash"):
        subprocess.run([shell, "-n", "-c", text], check=True)
    # a word where a command may be is `command` or a keyword
    words = re.findall(r"(?:^|[;|]|\b(?:do|then|else|in)\b|\))\s+([a-z]+)\b", f" {text}".replace("*)", "; "))
    assert set(words) <= {"command", "for", "do", "done", "if", "then", "else", "fi", "case", "esac", "false"}
