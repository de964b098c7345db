"""What all tests share.

A test that needs a program or package which the machine may lack skips with a reason that starts with "needs " and
names it: ``pytest.skip("needs chromium")``, or `pytest.importorskip`. With ``--nothing-missing`` (as in `.ci/run`) such
a skip is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
import torch

torch.set_num_threads(1)  # the networks of the tests are small: threads would only wait for each other
os.environ["OMP_NUM_THREADS"] = "1"  # in the processes that tests start, too

hypothesis.settings.register_profile("shared machines", deadline=None)  # their speed varies
hypothesis.settings.load_profile("shared machines")

MISSING = ("needs ", "could not import ")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nothing-missing", action="store_true", help="fail where a test skips for want of a program or package"
    )


def forbid_missing(report: Any, config: pytest.Config) -> None:
    """Turns a skip for want of something into a failure, where that was asked for."""
    if config.getoption("--nothing-missing") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(MISSING):
            report.outcome, report.longrepr = "failed", f"skipped, but nothing may be missing here: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    forbid_missing(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    forbid_missing(report, collector.config)
    return report
