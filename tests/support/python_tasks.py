"""Tasks whose jobs are Python functions."""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility

from luigi_sshjob import RemotePythonTask


class Work(RemotePythonTask):
    """Has the parameters of all tasks below."""

    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    numbers = luigi.ListParameter(default=[1, 2])
    options = luigi.DictParameter(default={"Ä": {"b": [1.5, None]}})
    day = luigi.DateParameter(default=datetime.date(2026, 1, 2))
    secret = luigi.Parameter(default="x", visibility=ParameterVisibility.HIDDEN)
    factor = 10


class OwnInputs(Work):
    path = luigi.Parameter()

    def inputs(self):
        return [Path(self.path)]

    def work(self):
        return self.inputs()[0].open().read()


def maker(host, folder: str) -> Callable[..., Any]:
    """Makes tasks of a class, whose jobs are in a directory with a hostile name."""
    return lambda kind, **options: kind(host=host.alias, base_dir=f'{folder}/it\'s "$(x)" 日本', **options)


def imported(file, text: str) -> Any:
    """The module of a file of that text."""
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
