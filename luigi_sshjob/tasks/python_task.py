"""`RemotePythonTask`: a Python function on a host as a Luigi task."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from luigi_sshjob.errors import CommandMissing, ConfigurationError, RemoteCommandFailed
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks import hosts, options, plain
from luigi_sshjob.tasks.attributes import overridable
from luigi_sshjob.tasks.python_command import python_command
from luigi_sshjob.tasks.shipping import shipped
from luigi_sshjob.tasks.task import RemoteJobTask

_FORMATS = ("json", "pickle")


class RemotePythonTask(RemoteJobTask):
    """Runs `work()` under the Python of `host`, 3.8 or newer, where nothing has to be installed. Override both.

    The source of `work` is sent, so it imports and defines in its body what it uses. Of `self` it has `inputs()`,
    `input()` and `output()`, whose items are paths with `.path`, `.open()` and `.exists()`, and attributes that are
    numbers, texts, dates, or collections of these. What cannot be sent is a `ConfigurationError` before the submission.
    The value that it returns is the output, see `result`; an exception fails the job, with the traceback in the log.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # now, because the file may have changed when the task is run; which then reports an error
        with contextlib.suppress(ConfigurationError):
            shipped(cls.work)

    @overridable
    def python(self) -> str:
        """The interpreter: a name that the setup of the host makes known, or an absolute path."""
        return "python3"

    @overridable
    def result_format(self) -> str:
        """How the returned value is kept: "json", or "pickle" for tuples, sets, bytes, dates and other plain data."""
        return "json"

    def work(self) -> Any:
        """Return a value, or write the outputs; runs on the host."""
        raise CommandMissing(
            f"a task must override work(): {type(self).__name__} does not",
            host=hosts.label(self),
            job=self.task_id,
            next_step="define work() in the class",
        )

    @property
    def result_target(self) -> RemoteTarget:
        """The file on the host that the returned value is written to."""
        return self.remote_target(options.job_paths(self).result(self._kept_as()))

    def output(self) -> Any:
        """The returned value. An `output` that overrides this one needs `result_target` among its items to keep it."""
        return self.result_target

    def result(self) -> Any:
        """The value that `work` has returned. Raises `FileMissing` if the task has not run."""
        target = self.result_target
        with target.fs.reader(target.path) as file:
            data = file.read()
        try:
            return json.loads(data) if self._kept_as() == "json" else plain.load(data)
        except Exception as error:  # noqa: BLE001 - damaged or hostile data may cause any
            raise RemoteCommandFailed(
                f"the result of work() cannot be read: {target.path}: {type(error).__name__}: {error}",
                host=hosts.label(self),
                job=self.task_id,
                next_step="remove the file, and run the task again",
            ) from None

    def command(self) -> str:
        """A Python script that calls `work`."""
        if type(self).work is RemotePythonTask.work:
            self.work()
        if 1 in options.success_exit_codes(self):
            raise ConfigurationError(
                "an exception of work() must not be a success: success_exit_codes has 1",
                next_step="use other exit codes, and sys.exit() in work()",
            )
        return python_command(
            self,
            shipped(type(self).work),
            inputs=self.inputs() if callable(self.inputs) else self.input(),
            outputs=self.output(),
            own_paths=options.job_paths(self).published,
        )

    def _kept_as(self) -> str:
        if self.result_format not in _FORMATS:
            raise ConfigurationError(
                f"result_format must be one of {', '.join(_FORMATS)}: {self.result_format!r}",
                next_step="use 'json'",
            )
        return str(self.result_format)
