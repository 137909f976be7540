"""Registers the fixtures package, and nothing else."""

pytest_plugins = ("fixtures.plugin",)
