"""Submissions of all clients, sent together: one request for those that arrive while the host serves the last one."""

from __future__ import annotations

from collections.abc import Sequence

from luigi_sshjob.errors import InvalidResponse
from luigi_sshjob.ssh.leader.pipeline import Pipeline, Request
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text, split_response

VERB = "job_submit "
_TOGETHER = "submit_many"
# in one request, so that no news wait long for its response
_MOST = 50
_MOST_TEXT = 1 << 18  # characters


class Submissions:
    """Sends one request at a time; see remote/server/submit_many.sh."""

    def __init__(self, pipeline: Pipeline, host: str):
        self._host = host
        self._pipeline = pipeline
        self._waiting: list[Request] = []
        self._sent = False

    def send(self, request: Request) -> None:
        """Sends a submission now, or together with others after the response to the last ones."""
        self._waiting.append(request)
        if not self._sent:
            self._send_waiting()

    def reject_unsent(self) -> None:
        """Fails those that were not sent with `LeaderClosing`."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            request.reject()

    def _send_waiting(self) -> None:
        count, text_length = 0, 0
        for request in self._waiting[:_MOST]:
            text_length += len(request.text)
            if count and text_length > _MOST_TEXT:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._sent = bool(batch)
        if not batch:
            return
        text = batch[0].text
        if len(batch) > 1:
            text = request_text(_TOGETHER, *(request.text.removeprefix(VERB) for request in batch))
        self._pipeline.send(
            Request(
                text,
                lambda response: self._on_response(batch, response),
                lambda error: self._on_error(batch, error),
            )
        )

    def _on_response(self, batch: Sequence[Request], response: Response) -> None:
        # first, so that the host is not idle
        self._send_waiting()
        try:
            with reading_response(_TOGETHER, self._host):
                responses = [response] if len(batch) == 1 else split_response(response)
                answered = list(zip(batch, responses, strict=True))
        except InvalidResponse as error:
            for request in batch:
                request.on_error(error)
            return
        for request, its_own in answered:
            request.on_response(its_own)

    def _on_error(self, batch: Sequence[Request], error: Exception) -> None:
        waiting: list[Request] = []
        if isinstance(error, InvalidResponse):
            # the others can be repeated: they get the error that follows
            self._send_waiting()
        else:
            # their clients decide when to try again
            waiting, self._waiting, self._sent = self._waiting, [], False
        for request in [*batch, *waiting]:
            request.on_error(error)
