"""The messages between a leader and its clients as data that cannot run code."""

from __future__ import annotations

from typing import Any

from luigi_sshjob import errors
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.ssh.leader.framing import MAX_RESPONSE, Decoder, InvalidMessage, encode
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

# Types of the details of each kind of request.
_DETAILS: dict[str, tuple[type | tuple[type, ...], ...]] = {
    "request": (str,),
    "subscribe": (str, str, (int, float), bool),  # topic, words, interval in seconds, urgent
    "unsubscribe": (list,),  # topics
}
_EMPTY = ("heartbeat", "rejected")
_ERRORS: dict[str, type[SSHJobError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SSHJobError)
}
# Attributes of errors that another process needs.
_TEXTS = ("problem", "host", "job", "doing", "next_step", "code", "cmd", "filename")
_NUMBERS = ("returncode", "errno")


def encode_request(kind: str, number: int, *details: object) -> bytes:
    """Returns a message to the leader as bytes."""
    return encode([kind, number, *details])


def decode_request(header: Any, content: bytes) -> tuple[str, int, list[Any]]:
    """Returns kind, number and details of a message to the leader. Raises `InvalidMessage`."""
    kind, number, details = _numbered(header)
    types = _DETAILS.get(kind, ())
    fits = len(details) == len(types) and all(map(isinstance, details, types))
    topics = details[0] if kind == "unsubscribe" and fits else []
    if not types or not fits or content or not all(isinstance(topic, str) for topic in topics):
        raise InvalidMessage(f"invalid request: {kind}")
    return kind, number, details


def encode_reply(kind: str, number: int, content: Response | Exception | None) -> bytes:
    """Returns a message to a client as bytes."""
    if isinstance(content, Response):
        parts = [[part.kind, part.index, part.value, len(part.content)] for part in content.parts]
        return encode(
            [kind, number, content.status, len(content.output), parts],
            b"".join((content.output, *(part.content for part in content.parts))),
        )
    if content is None or kind == "rejected":
        return encode([kind, number])
    return encode([kind, number, *_error_data(content)], getattr(content, "output", None) or b"")


def decode_reply(header: Any, content: bytes) -> tuple[str, int, Response | Exception | None]:
    """Returns kind, number and content of a message of the leader. Raises `InvalidMessage`."""
    kind, number, details = _numbered(header)
    try:
        if kind == "response":
            return kind, number, _response(content, *details)
        if kind == "error":
            return kind, number, _error(content, *details)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidMessage(f"invalid {kind}: {error}") from None
    if kind not in _EMPTY or details or content:
        raise InvalidMessage(f"invalid reply: {kind}")
    return kind, number, None


def copy_error(error: Exception) -> Exception:
    """Returns what another process would receive for an error."""
    (message,) = Decoder(MAX_RESPONSE).feed(encode_reply("error", 0, error))
    copy = decode_reply(*message)[2]
    assert isinstance(copy, Exception)
    return copy


def _numbered(header: Any) -> tuple[str, int, list[Any]]:
    if not isinstance(header, list) or len(header) < 2 or type(header[0]) is not str or type(header[1]) is not int:
        raise InvalidMessage("invalid message")
    return header[0], header[1], header[2:]


def _response(content: bytes, status: int, size: int, parts: list[list[Any]]) -> Response:
    sizes = [size, *(part[3] for part in parts)]
    if sum(sizes) != len(content) or min(sizes) < 0 or type(status) is not int:
        raise InvalidMessage("sizes differ")
    end, made = size, []
    for kind, index, value, part_size in parts:
        if type(kind) is not str or type(index) is not int or type(value) is not str:
            raise InvalidMessage("a part has another type")
        made.append(ResponsePart(kind, index, value, content[end : end + part_size]))
        end += part_size
    return Response(status, content[:size], tuple(made))


def _error_data(error: Exception) -> tuple[str, dict[str, str | int | None]]:
    if isinstance(error, SSHJobError):
        texts = {name: value for name in _TEXTS if isinstance(value := getattr(error, name, None), str)}
        numbers = {name: value for name in _NUMBERS if isinstance(value := getattr(error, name, None), int)}
        # a subclass of a transport is for that transport
        known = next(kind for kind in type(error).__mro__ if kind is _ERRORS.get(kind.__name__))
        return known.__name__, {**texts, **numbers}
    if isinstance(error, OSError):
        name = None if error.filename is None else str(error.filename)
        return "OSError", {"problem": error.strerror or str(error), "errno": error.errno, "filename": name}
    return "SSHJobError", {"problem": f"unexpected error in the process that holds the connection: {error!r}"}


def _error(content: bytes, name: str, state: dict[str, Any]) -> Exception:
    texts = {key: value for key in _TEXTS if (value := state.get(key)) is not None}
    numbers = {key: value for key in _NUMBERS if (value := state.get(key)) is not None}
    if len(texts) + len(numbers) != sum(value is not None for value in state.values()):
        raise InvalidMessage("unknown attribute")
    if not all(type(text) is str for text in texts.values()) or not all(type(each) is int for each in numbers.values()):
        raise InvalidMessage("an attribute has another type")
    if name == "OSError":
        return OSError(numbers.get("errno"), texts.get("problem"), texts.get("filename"))
    return errors.rebuild(_ERRORS[name], {**_defaults(_ERRORS[name], content), **texts, **numbers})


def _defaults(kind: type[SSHJobError], output: bytes) -> dict[str, Any]:
    unset: dict[str, Any] = {"problem": "", "host": None, "job": None, "doing": "", "next_step": "", "code": ""}
    if issubclass(kind, errors.RemoteCommandFailed):
        unset |= {"returncode": 1, "cmd": "", "output": output, "stderr": None}
    return unset
