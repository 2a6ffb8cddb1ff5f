#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Run the jobs of CI on your machine: ``nox``, or ``nox -s tests``."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
PLATFORMS = ["linux", "darwin", "win32"]


@nox.session
def lint(session: nox.Session) -> None:
    """Run the pre-commit hooks."""
    session.install("pre-commit")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session
@nox.parametrize("platform", PLATFORMS)
def types(session: nox.Session, platform: str) -> None:
    """Check the types, for each platform."""
    session.install("-e", ".[test]", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "types"))
    session.run("mypy", f"--platform={platform}", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".", "-r", "docs/requirements.txt")
    session.run("sphinx-build", "-W", "-n", "docs", "docs/_build", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks; nothing else should run on the machine."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the source distribution and the wheel, and check them."""
    session.install("build", "twine")
    session.run("python", "-m", "build", *session.posargs)
    session.run("twine", "check", "--strict", "dist/*")


if __name__ == "__main__":
    nox.main()
