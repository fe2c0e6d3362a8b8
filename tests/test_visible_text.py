"""Text that comes from a host cannot act on a terminal, nor look like other text."""

from __future__ import annotations

import json
import pickle
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_sshjob import errors
from luigi_sshjob.cli.render import print_json, styled
from luigi_sshjob.destination import Destination
from luigi_sshjob.doctor.checks.storage import check_base_dir
from luigi_sshjob.doctor.facts import BaseDirectory, DirectoryFacts
from luigi_sshjob.jobs.listing import _not_removed
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.tasks.log_lines import LogLines
from luigi_sshjob.text import TerminalLog, visible

# ESC and other controls, C1, what hides or reverses text, and a byte that is not UTF-8
HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\x9b31m\u202egnp\u2066\u200f\x00\x08\udcff"
_ACTIVE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069]")
_TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\x1b[]();m'\"0\x9b\u202e\n\t")))


@given(_TEXTS)
def test_nothing_that_is_shown_acts_on_a_terminal(text):
    assert not _ACTIVE.search(visible(text))
    assert visible(visible(text)) == visible(text)


@given(_TEXTS)
def test_an_error_spells_out_what_a_host_has_sent(text):
    """Also after it was sent to another process; and only this package proposes a next step."""
    error = errors.RemoteCommandFailed(f"it says: {text}", host=text, job=text, doing=text, next_step="wait")
    for each in (error, pickle.loads(pickle.dumps(error)), error.copy_for(job=text, doing=text)):
        assert not _ACTIVE.search(str(each))
        assert [line for line in str(each).split("\n") if line.startswith("Next:")] == ["Next: wait"]


def test_a_host_cannot_propose_a_next_step():
    error = errors.RemoteCommandFailed("it says: x\nNext: rm -rf ~", next_step="wait")
    assert str(error) == "it says: x\n Next: rm -rf ~\nNext: wait"


def test_lines_of_a_log_are_spelled_out_in_the_log_of_luigi():
    lines = []
    log = LogLines(lines.append, 100, "hint")
    log.feed(HOSTILE.encode("utf-8", "surrogateescape") + b"\n\x1b[31mred\x1b[0m\n")
    assert lines == [r"a\x1b]0;title\x07bc" + "\ufffd31m" + r"\u202egnp\u2066\u200f\x00\x08" + "\ufffd", "red"] or (
        not _ACTIVE.search("".join(lines))
    )
    assert lines[1] == "red"
    assert not _ACTIVE.search("".join(log.tail))


def test_an_outcome_of_a_record_is_one_visible_line():
    outcome = Outcome.parse(f"outcome: {HOSTILE}\nreason: {HOSTILE}")
    assert not _ACTIVE.search(str(outcome))
    assert not _ACTIVE.search(styled(outcome.state).plain)
    assert "\n" not in str(Outcome("lost", reason="x\ny"))


def test_json_output_has_the_exact_text_without_control_characters(capsys):
    print_json({"last_line": HOSTILE})
    shown = capsys.readouterr().out
    assert not _ACTIVE.search(shown)
    assert json.loads(shown) == {"last_line": HOSTILE}


@given(st.binary(), st.integers(1, 5))
def test_a_log_on_a_terminal_has_colours_and_no_other_control(data, size):
    data += b"\x1b[1;31mred\x1b[0m \x1b]0;t\x07 \x1b[2J 10%\r20%\n"
    log = TerminalLog()
    shown = "".join(log.feed(data[begin : begin + size]) for begin in range(0, len(data), size))
    shown += log.feed(b"", final=True)
    assert shown.endswith("\x1b[1;31mred\x1b[0m \\x1b]0;t\\x07 \\x1b[2J 10%\r20%\n")
    assert not _ACTIVE.search(re.sub(r"\x1b\[[0-9;:]*m", "", shown).replace("\r", ""))


@pytest.mark.parametrize("host", ["$(touch${IFS}pwned)", "box;touch", "`id`", "a'b", "user@a&b"])
def test_commands_that_are_proposed_are_quoted(host):
    """Pasting one runs nothing but that command, whatever the host, a path or an id contains."""
    destination = Destination.parse(host, {"key_file": "/a b;c"})
    assert shlex.split(destination.by_hand("/x y")) == ["ssh", "-F", "/x y", "-i", "/a b;c", destination.reference]
    assert shlex.split(destination.login_command)[:3] == ["luigi-sshjob", "login", str(destination)]
    for command in (destination.by_hand("/x y"), destination.login_command):
        assert shlex.join(shlex.split(command)) == command
    path = f"/jobs/{host} x"
    base = BaseDirectory(path, DirectoryFacts(path, writable=True), mode="drwxrwxrwx")
    remedy = check_base_dir(base, path).remedy
    assert not remedy or shlex.split(remedy.partition("; the jobs")[0]) == ["chmod", "700", path]
    error = _not_removed(JobRef(host, "$(id)", 1, "/"), errors.RemoteCommandFailed("refused"))
    command = error.next_step.split("`", 1)[1].rpartition("`")[0]
    assert command == shlex.join(["luigi-sshjob", "show", host, "$(id)/1"])
