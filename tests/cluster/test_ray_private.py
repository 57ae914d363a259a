"""Each name of Ray's that is not public: it exists, is as it is used, and what holds without it.

If this fails after an upgrade of Ray: the sentence says what the name bought. Find its new place,
or the option that has come instead, in ``cluster/ray_private.py``.
"""

from __future__ import annotations

import enum
import inspect
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import jamba_ray
from jamba_ray.cluster import nodes, ray_private, upload
from jamba_ray.cluster.ray_private import ALL, PrivateName, override, replaced
from jamba_ray.errors import UnavailableError

ray = pytest.importorskip("ray")
each = pytest.mark.parametrize("name", ALL, ids=lambda name: name.attribute)
TAKES = {
    ray_private.START_PROCESS: {"stdout", "stderr", "start_new_session"},
    ray_private.FIND_PORT: {"timeout_ms"},
    ray_private.SEND_REQUEST: {"kwargs"},
    ray_private.WALK_UPLOAD: {"path", "excludes", "handler", "include_gitignore", "logger"},
    ray_private.MAKE_DECISION: {"training_failed_error"},
    ray_private.AFTER_START: {"train_run_context"},
}
"""Parameters that are given by name, or that what replaces it must have."""


@pytest.fixture
def lacks_all(monkeypatch):
    """A Ray that has none of the names."""
    monkeypatch.setattr(PrivateName, "find", lambda name: None)


@each
def test_this_ray_has_it(name):
    assert name.find() is not None, name.missing()


@pytest.mark.parametrize("name", TAKES, ids=lambda name: name.attribute)
def test_it_takes_what_it_is_given(name):
    kinds = inspect.signature(name.find()).parameters
    assert set(kinds) >= TAKES[name], name.missing()


def test_what_is_read_from_them_is_there():
    assert {"RAISE", "RETRY"} <= set(ray_private.FAILURE_DECISION.find().__members__)
    assert issubclass(ray_private.FAILURE_DECISION.find(), enum.Enum)
    assert issubclass(ray_private.START_TIMEOUT.find(), Exception)
    assert hasattr(ray_private.PRINTED.find(), "skip_re")
    assert hasattr(ray_private.COMPILED_TOKEN.find()(), "reset_cache")
    context = inspect.get_annotations(inspect.unwrap(ray_private.TRAIN_CONTEXT.find()))["return"]
    assert "preemption_context" in inspect.get_annotations(context)


def test_every_name_is_used():
    package = Path(jamba_ray.__file__).parent
    files = [p for p in package.rglob("*.py") if p.name != "ray_private.py"]
    text = "\n".join(path.read_text() for path in files)
    names = [key for key, value in vars(ray_private).items() if isinstance(value, PrivateName)]
    assert len(names) == len(ALL)
    assert [name for name in names if name not in text] == []


@each
def test_its_sentence_says_what_it_buys_and_what_to_do(name):
    said = name.missing()
    assert said.startswith(f"Ray must have `{name.place}`, with which ")
    assert ray.__version__ in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    "place", ["ray._private.gone:x", "ray._private.services:gone", "ray:init(_gone)", "gone:x.y"]
)
def test_what_is_gone_is_not_found(place):
    name = PrivateName(place, "something is had", "Nothing holds.")
    assert name.find() is None
    with pytest.raises(UnavailableError, match=r"something is had, but Ray .* has none\. Nothing"):
        name.require()
    with replaced({name: 1}):
        pass
    ray_private.assign(name, 1)
    assert ray_private.known_options({name: 1, ray_private.TEMPORARY_FOLDER: 2}) == {"_temp_dir": 2}


def test_what_was_replaced_is_put_back():
    name = ray_private.LOCAL_ADDRESS
    before, seen = name.find(), []

    def fail_inside():
        with replaced({name: len}):
            seen.append(name.find())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert seen == [len]
    assert name.find() is before


def test_methods_of_an_object_are_replaced_where_it_has_them():
    client = SimpleNamespace(_do_request=lambda: 1)
    override(client, ray_private.SEND_REQUEST, lambda send: lambda: send() + 1)
    assert client._do_request() == 2
    override(without := SimpleNamespace(), ray_private.SEND_REQUEST, lambda send: send)
    assert vars(without) == {}


@pytest.mark.usefixtures("lacks_all")
class TestWithoutThem:
    """Where a name buys speed or silence, things go on; a real sweep and a real group do so in
    ``test_ray_session.py`` and ``test_group.py``."""

    def test_no_node_is_known_to_be_taken_away(self):
        assert nodes.draining_nodes() == set()

    def test_no_rank_is_known_to_be_preempted(self):
        from jamba_ray.runners.group_rank import _is_preempted

        assert not _is_preempted()

    def test_ray_train_decides_itself(self):
        from jamba_ray.runners.group_trainer import _run_controller, found_no_place

        parts = {"failure_policy": object(), "scaling_policy": object(), "callbacks": [1, 2]}
        assert _run_controller(dict, None, **parts) == parts
        assert not found_no_place(TimeoutError())

    def test_ray_may_print(self):
        from jamba_ray.driver.ray_session import _silence

        with _silence(verbose=False):
            pass

    def test_nothing_is_uploaded_unseen(self, tmp_path):
        (tmp_path / "sweep.py").write_text("")
        with pytest.raises(UnavailableError, match=r"refuses secrets .* Install the Ray"):
            upload.preview(tmp_path)

    def test_no_ray_is_started_that_others_could_use(self, tmp_path, monkeypatch):
        from jamba_ray.cluster.resources import Machine
        from jamba_ray.driver.local_ray import start
        from jamba_ray.driver.own_token import own_token

        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1 alone, but Ray"):
            start(Machine(1), tmp_path, False, ())
        monkeypatch.setenv("RAY_AUTH_TOKEN", "of a cluster")
        with pytest.raises(UnavailableError, match="second run's token"), own_token(tmp_path):
            pass
        assert os.environ["RAY_AUTH_TOKEN"] == "of a cluster"
        assert list(tmp_path.iterdir()) == []
