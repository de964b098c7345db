"""Fixtures shared by the tests of tasks."""
