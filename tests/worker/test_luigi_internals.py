"""Pins what luigi_sshjob.worker and tasks/ (error_text.py, statistics.py, tracking.py) use of Luigi's internals.

If a test fails, this version of Luigi has changed what the test names: change the code that uses it, and the pin.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

import luigi
import luigi.cmdline_parser
import luigi.execution_summary
import luigi.interface
import luigi.retcodes
import luigi.rpc
import luigi.worker
import pytest
from luigi.scheduler import WORKER_STATE_ACTIVE, Scheduler

from luigi_sshjob.worker.task_process import JobTaskProcess

pytestmark = pytest.mark.core

Worker = luigi.worker.Worker


def tree(thing: object) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def attributes_of(name: str, *functions: object) -> set[str]:
    """The attributes of a variable that these functions read, including those of `self._x`."""
    return {
        node.attr
        for function in functions
        for node in ast.walk(tree(function))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name
    }


def calls_on(name: str, thing: object) -> dict[str, set[str]]:
    """The methods of `name` that it calls, each with its keywords, and numbers for positional arguments."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree(thing)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == name:
            keywords = {keyword.arg or "**" for keyword in node.keywords}
            positions = {"*" if isinstance(one, ast.Starred) else str(n) for n, one in enumerate(node.args)}
            found.setdefault(node.func.attr, set()).update(keywords | positions)
    return found


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)


class Some(luigi.Task):
    number = luigi.IntParameter(default=0)


@pytest.fixture
def worker() -> Worker:
    return Worker(scheduler=Scheduler())


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (Worker.__init__, ["self", "scheduler", "worker_id", "worker_processes", "assistant", "kwargs"]),
        (Worker._create_task_process, ["self", "task"]),
        (Worker.set_worker_processes, ["self", "n"]),
        (Worker.run, ["self"]),
        (Worker._email_task_failure, ["self", "task", "formatted_traceback"]),
        (Worker._email_complete_error, ["self", "task", "formatted_traceback"]),
        (Worker._email_dependency_error, ["self", "task", "formatted_traceback"]),
        (Worker.__enter__, ["self"]),
        (Worker.__exit__, ["self", "type", "value", "traceback"]),
        (luigi.worker.TaskStatusReporter.__init__, ["self", "scheduler", "task_id", "worker_id", "scheduler_messages"]),
        (luigi.worker.TaskStatusReporter.update_tracking_url, ["self", "tracking_url"]),
        (luigi.worker.TaskStatusReporter.update_status_message, ["self", "message"]),
        (luigi.worker.TaskStatusReporter.update_progress_percentage, ["self", "percentage"]),
        (luigi.worker.TaskProcess._handle_run_exception, ["self", "ex"]),
        (luigi.worker.TaskProcess._forward_attributes, ["self"]),
        (luigi.interface._WorkerSchedulerFactory.create_local_scheduler, ["self"]),
        (luigi.interface._WorkerSchedulerFactory.create_remote_scheduler, ["self", "url"]),
        (
            luigi.interface._WorkerSchedulerFactory.create_worker,
            ["self", "scheduler", "worker_processes", "assistant"],
        ),
        (luigi.retcodes.run_with_retcodes, ["argv"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_function_of_luigi_keeps_its_parameters(function, names):
    assert parameters(function) == names, f"Luigi has changed {function.__qualname__}"


@pytest.mark.parametrize(
    "name",
    ["_scheduled_tasks", "_running_tasks", "_task_result_queue", "_scheduler", "_id", "worker_processes"],
)
def test_a_worker_of_luigi_keeps_its_attributes(worker, name):
    assert hasattr(worker, name), f"luigi.worker.Worker has no {name}"


@pytest.mark.parametrize(
    "name",
    [
        *("task", "worker_id", "worker_timeout", "timeout_time", "status_reporter", "context", "check_complete"),
        *("check_unfulfilled_deps", "check_complete_on_run", "task_completion_cache"),
    ],
)
def test_a_task_process_of_luigi_keeps_its_attributes(worker, name):
    assert hasattr(worker._create_task_process(Some()), name), f"luigi.worker.TaskProcess has no {name}"


def test_a_reporter_of_luigi_keeps_the_scheduler_and_the_messages(worker):
    reporter = worker._create_task_process(Some()).status_reporter
    assert reporter._scheduler is worker._scheduler
    assert reporter.scheduler_messages is None
    assert (reporter._task_id, reporter._worker_id) == (Some().task_id, worker._id)


def test_luigi_reports_a_tracking_url_without_the_settings_that_the_scheduler_resets():
    told = calls_on("self._scheduler", luigi.worker.TaskStatusReporter)["add_task"]
    assert told == {"task_id", "worker", "status", "tracking_url"}
    added = {"accepts_messages", "resources", "priority", "retry_policy_dict"}
    assert added <= set(parameters(Scheduler.add_task)), "luigi.scheduler.Scheduler.add_task takes something else"


def test_luigi_reports_statistics_by_the_id_of_the_task():
    # not in Luigi 3.6, where none are sent
    report = getattr(Scheduler, "report_task_statistics", None)
    assert report is None or parameters(report) == ["self", "task_id", "statistics"]
    assert (report is None) == (not hasattr(luigi.rpc.RemoteScheduler, "report_task_statistics"))


def test_a_client_of_luigid_looks_up_how_often_to_try_for_each_request():
    read = attributes_of("self", luigi.rpc.RemoteScheduler._get_retryer)
    assert read >= {"_rpc_retry_attempts", "_rpc_log_retries"}


def test_luigi_reads_only_attributes_of_a_process_that_ours_has():
    """Any other attribute would be an AttributeError in the middle of a run."""
    read = attributes_of("task_process", Worker._run_task, Worker.dispatch_scheduler_message)
    read |= attributes_of("p", Worker._purge_children) | attributes_of("task", Worker.__exit__)
    assert read == {
        *("use_multiprocessing", "start", "run", "status_reporter"),
        *("is_alive", "exitcode", "timeout_time", "worker_timeout", "task", "terminate"),
    }
    # start() is for those with use_multiprocessing
    missing = {name for name in read - {"start"} if not hasattr(JobTaskProcess, name)}
    assert missing <= attributes_of("self", JobTaskProcess.__init__)


def test_luigi_calls_the_scheduler_as_the_proxy_expects():
    assert calls_on("self._scheduler", Worker) == {
        "add_task": {
            *("*", "**", "worker", "task_id", "module", "family", "params", "status", "batch_id"),
        },
        "announce_scheduling_failure": {"worker", "task_name", "family", "params", "expl", "owners"},
        "add_task_batcher": {"worker", "task_family", "batched_args", "max_batch_size"},
        "add_worker": {"0", "1"},
        "get_work": {"worker", "host", "assistant", "current_tasks"},
        "count_pending": {"worker"},
    }
    assert calls_on("self._scheduler", luigi.worker.KeepAliveThread) == {"ping": {"worker"}}
    assert calls_on("self", Worker)["_add_task"] >= {"worker", "task_id", "status"}


@pytest.mark.parametrize("method", ["add_task", "add_task_batcher", "add_worker", "get_work", "count_pending", "ping"])
def test_the_scheduler_knows_workers_by_name(method):
    taken = parameters(getattr(Scheduler, method))
    assert "worker" in taken or "kwargs" in taken, f"luigi.scheduler.Scheduler.{method} takes no worker"


def test_a_response_of_the_scheduler_has_the_counts_that_are_added_up():
    scheduler = Scheduler()
    scheduler.add_task(worker="some", task_id="one")
    counts = {"n_pending_tasks": 1, "n_unique_pending": 1, "n_pending_last_scheduled": 1}
    assert scheduler.count_pending("some") == {**counts, "running_tasks": [], "worker_state": WORKER_STATE_ACTIVE}
    work = scheduler.get_work(worker="some", host="here", current_tasks=[])
    assert (work["task_id"], {name: work[name] for name in counts}) == ("one", counts)
    (running,) = scheduler.count_pending("some")["running_tasks"]
    assert running["worker"] == "some"
    assert scheduler.ping(worker="some") == {"rpc_messages": []}


def test_luigi_reads_results_as_the_main_thread_queue_returns_them():
    assert calls_on("self._task_result_queue", Worker) == {"get": {"timeout"}, "put": {"0"}, "close": set()}
    unpacked = [
        ast.unparse(node.targets[0])
        for node in ast.walk(tree(Worker._handle_next_task))
        if isinstance(node, ast.Assign) and "_task_result_queue.get" in ast.unparse(node.value)
    ]
    assert unpacked == ["(task_id, status, expl, missing, new_requirements)"]


def test_luigi_reports_each_failure_to_the_methods_that_record_it():
    """With the explanation, whether or not it sends e-mails."""
    assert calls_on("self", Worker._handle_next_task)["_email_task_failure"] == {"0", "1"}
    assert "if status == FAILED and (not external_task_retryable)" in ast.unparse(tree(Worker._handle_next_task))
    added = calls_on("self", Worker._add)
    assert added["_email_complete_error"] == added["_email_dependency_error"] == {"0", "1"}


def test_luigi_logs_an_error_with_its_exception_or_with_the_traceback_as_text():
    assert "exception" in calls_on("logger", luigi.worker.TaskProcess._handle_run_exception)
    for method in (Worker._log_complete_error, Worker._log_dependency_error):
        assert calls_on("logger", method) == {"warning": {"0"}}
    parser = luigi.cmdline_parser.CmdlineParser(["--log-level", "ERROR", "Some"])
    assert parser.known_args.core_log_level == "ERROR"


def test_luigi_waits_when_all_processes_are_in_use():
    condition = [ast.unparse(node.test) for node in ast.walk(tree(Worker.run)) if isinstance(node, ast.While)]
    assert "len(self._running_tasks) >= self.worker_processes > 0" in condition


def test_luigi_forks_when_it_may_have_more_than_one_process():
    assert "self.worker_processes > 1" in inspect.getsource(Worker._create_task_process)


def test_a_message_is_passed_to_the_method_marked_for_it():
    assert Worker.set_worker_processes.is_rpc_message_callback
    assert luigi.worker.rpc_message_callback(lambda: None).is_rpc_message_callback


def test_the_luigi_command_looks_up_its_factory_where_it_is_replaced():
    assert "_WorkerSchedulerFactory" in luigi.interface._schedule_and_run.__code__.co_names
    assert "_run" in luigi.retcodes.run_with_retcodes.__code__.co_names
