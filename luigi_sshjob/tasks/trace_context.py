"""Passes the trace context of the worker's environment on to a job, for distributed tracing.

`TRACEPARENT` and `TRACESTATE` are the headers of the same names in W3C Trace Context, as environment variables.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import cache

logger = logging.getLogger("luigi-interface")

PARENT, STATE = "TRACEPARENT", "TRACESTATE"

_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
# https://www.w3.org/TR/trace-context/#traceparent-header; only a version after 00 may have more at the end
_TRACEPARENT = re.compile(rf"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(-[!-~]*)?")
_TRACESTATE = re.compile(r"[\t -~]+")


def trace_context(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for a job with this environment of its own; none if that has a trace context.

    As the standard demands, an invalid parent is ignored, and without a valid parent the state is, too.
    """
    parent, state = os.environ.get(PARENT, ""), os.environ.get(STATE, "")
    if not parent or PARENT in environment:
        return {}
    if not is_valid_parent(parent):
        _warn(parent)
        return {}
    return {PARENT: parent, **({STATE: state} if _TRACESTATE.fullmatch(state) else {})}


def is_valid_parent(text: str) -> bool:
    """Whether it is a valid `traceparent`."""
    return bool(_TRACEPARENT.fullmatch(text))


@cache
def _warn(parent: str) -> None:
    # once for each value in a process
    logger.warning("%s=%r is not a valid W3C trace context: jobs do not get it", PARENT, parent)
