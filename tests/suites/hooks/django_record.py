"""Django test runner that writes the same record as `recorder`; named by TEST_RUNNER in `django_settings`."""

from __future__ import annotations

import unittest

import recorder
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases


class _Result(unittest.TextTestResult):
    """Every way a test can end, as the recorder's words."""

    def startTest(self, test):
        super().startTest(test)
        self._end = ("passed", "")
        recorder._write(test=_name(test), outcome="begun", error="")

    def stopTest(self, test):
        super().stopTest(test)
        recorder._write(test=_name(test), outcome=self._end[0], error=self._end[1])

    def _failed(self, err):
        self._end = ("failed", f"call: {err[0].__name__}: {err[1]}"[-2000:])

    def addError(self, test, err):
        super().addError(test, err)
        if hasattr(test, "_testMethodName"):
            self._failed(err)
        else:  # setUpClass
            recorder._write(test=str(test), outcome="failed", error=f"setup: {err[0].__name__}: {err[1]}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._end = ("skipped", "")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._end = ("skipped", "")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._end = ("failed", "call: unexpected success")


def _name(test):
    module, _, rest = test.id().partition(".")
    return f"{module}::{rest}"


class Runner(DiscoverRunner):
    def build_suite(self, *args, **kwargs):
        suite = super().build_suite(*args, **kwargs)
        return self.test_suite([test for test in iter_test_cases(suite) if recorder.wanted(_name(test))])

    def get_resultclass(self):
        return _Result
