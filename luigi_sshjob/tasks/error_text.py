"""Shows errors of this package in Luigi's log and on luigid's page without the stack frames of Luigi and this package.

They explain themselves. The frames of a user's own code stay, as does the traceback of any other exception.
"""

from __future__ import annotations

import logging
import re
import sysconfig
import textwrap
import traceback
from pathlib import Path

import luigi
import luigi.configuration
from luigi.cmdline_parser import CmdlineParser

from luigi_sshjob.errors import SSHJobError

HEADER = "Traceback (most recent call last):\n"

# Luigi passes some tracebacks on as text
_ERROR = re.compile(
    rf"^{re.escape(HEADER)}(?P<frames>(?: .*\n)+)(?P<name>luigi_sshjob\.errors\.\w+: )(?P<message>(?s:.)*)",
    re.MULTILINE,
)
_CONTINUED = re.compile(
    r"^(The above exception was the direct cause|During handling of the above exception, another)", re.MULTILINE
)
_LAST = re.compile(rf"^{re.escape(HEADER)}(?: .*\n)+", re.MULTILINE)
_NAME = re.compile(r"^luigi_sshjob\.errors\.\w+: ")
_FRAME = re.compile(r'^(?=  File ")', re.MULTILINE)
_PLACE = re.compile(r'  File "(.*)", line \d+(?:, in (.*))?')

# luigid's page wraps no lines, and shows 69 characters of them
_FOLD = "    "
_LINES = textwrap.TextWrapper(68, subsequent_indent=_FOLD, break_long_words=False, break_on_hyphens=False)
_COMMAND = re.compile(r"`[^`\n]+`")
_JOINED = "\xa0"

_PACKAGES = tuple(f"{directory}/" for directory in (Path(luigi.__file__).parent, Path(__file__).parents[1]))
_STANDARD_LIBRARY = f"{sysconfig.get_path('stdlib')}/"


def explain(error: BaseException, *, narrow: bool = False) -> str:
    """The text of an error of this package, after the frames of users' code if there are any; empty for others.

    Without such frames, `narrow` folds its lines for luigid's page.
    """
    if not isinstance(error, SSHJobError):
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, frame.name)]
    if not frames:
        return _fold(error) if narrow else str(error)
    return "".join([HEADER, *traceback.format_list(frames), *traceback.format_exception_only(error)]).rstrip("\n")


def shorten(text: str) -> str:
    """The same for a text that ends with a traceback; the text itself if that is not of an error of this package."""
    found = _ERROR.search(text)
    if not found or _CONTINUED.search(found["message"]):
        return text
    frames = [frame for frame in _FRAME.split(found["frames"]) if _is_users(*_place_of(frame))]
    # before the first of a chain of exceptions
    before = text.partition(HEADER)[0]
    return before + (f"{HEADER}{''.join(frames)}{found['name']}" if frames else "") + found["message"].rstrip("\n")


def last_exception(text: str) -> str:
    """The last exception of a text that ends with a traceback, or a text of `explain`, without class and folds."""
    if re.match(rf"(.*:\n)?{re.escape(HEADER)}", text):
        *_, text = _LAST.split(text)
    return _NAME.sub("", text, count=1).replace(f"\n{_FOLD}", " ").rstrip("\n")


class ErrorText(logging.Filter):
    """Replaces the tracebacks of errors of this package in log records, unless the user has requested level DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the record; returns True."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.msg if isinstance(record.msg, str) and not record.args else ""
        if (error is None and HEADER not in text) or debug_requested():
            return True
        if error is None:
            record.msg = shorten(text)
        else:
            # a formatter shows this in place of the traceback; the exception stays there for other handlers
            record.exc_text = explain(error) or record.exc_text
        return True


def debug_requested() -> bool:
    """Whether Luigi's log level is DEBUG, on its command line or in its configuration. It is Luigi's default, too."""
    parser = CmdlineParser.get_instance()
    given = getattr(parser.known_args, "core_log_level", None) if parser else None
    return bool((given or luigi.configuration.get_config().get("core", "log_level", "")) == "DEBUG")


def _fold(error: SSHJobError) -> str:
    """Its message, with long lines continued in indented ones; neither the problem nor a command is divided."""
    text = str(error)
    problem = error.problem.partition("\n")[0]
    whole = [problem] if len(problem) <= _LINES.width - len(_FOLD) else []
    for words in [*whole, *_COMMAND.findall(text)]:
        text = text.replace(words, words.replace(" ", _JOINED))
    lines = [folded for line in text.split("\n") for folded in _LINES.wrap(line) or [line]]
    return "\n".join(lines).replace(_JOINED, " ")


def _is_users(file: str, function: str) -> bool:
    # the constructor of a dataclass is in no file
    made = file == "<string>" and function == "__init__"
    if not file or made or file.startswith(("<frozen ", *_PACKAGES)):
        return False
    # packages may be installed below the standard library
    return "-packages/" in file or not file.startswith(_STANDARD_LIBRARY)


def _place_of(frame: str) -> tuple[str, str]:
    found = _PLACE.match(frame)
    return (found[1], found[2] or "") if found else ("", "")


logging.getLogger("luigi-interface").addFilter(ErrorText())
