"""The lowest versions that pyproject.toml allows are said in full: `make test-floors` can install them."""

import re
from importlib.metadata import PackageNotFoundError, version

import pytest

from .lowest import PROJECT, lowest

REQUIRED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]


@pytest.mark.parametrize("requirement", REQUIRED)
def test_every_dependency_says_its_lowest_version(requirement):
    assert re.match(r"[\w-]+>=\d+(\.\d+){2,3}(;|$)", requirement)


def test_they_become_versions_to_install():
    found = ["a>=1.2.0", "b>=3.0.1; sys_platform == 'linux'", "c"]
    assert lowest(found) == ["a==1.2.0", "b==3.0.1; sys_platform == 'linux'"]
    assert len(lowest(REQUIRED)) == len(REQUIRED)


@pytest.mark.parametrize("requirement", lowest(REQUIRED))
def test_what_is_installed_is_not_older(requirement):
    name, least = re.match(r"([\w-]+)==([\d.]+)", requirement).groups()
    try:
        installed = version(name)
    except PackageNotFoundError:
        pytest.skip("for another system")
    numbers = [[int(n) for n in re.findall(r"\d+", v)] for v in (installed, least)]
    assert numbers[0] >= numbers[1]
