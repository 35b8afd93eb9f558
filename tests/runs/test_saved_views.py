"""Saved views: names for queries, of which the latest counts."""

import pytest

from attribution_core.errors import InputError


def test_views_are_saved_replaced_and_deleted(tmp_path, log):
    assert log.views.current() == []
    assert list(tmp_path.iterdir()) == []
    log.views.save("shirts", "where=class%3AShirt", "ann")
    log.views.save(" Coats  first ", "sort=-fsi", "ben")
    log.views.save("shirts", "where=class%3AShirt&sort=loss", "ben")
    assert [(view.name, view.query, view.reviewer) for view in log.views.current()] == [
        ("Coats first", "sort=-fsi", "ben"),
        ("shirts", "where=class%3AShirt&sort=loss", "ben"),
    ]
    log.views.delete("shirts")
    assert [view.name for view in log.views.current()] == ["Coats first"]
    assert log.history.reviewers() == ["ann", "ben"]
    assert log.version() == 0  # nothing about an example has changed


@pytest.mark.parametrize("name", ["", " ", "x" * 81])
def test_a_view_has_a_name(log, name):
    with pytest.raises(InputError, match="name of a view"):
        log.views.save(name, "")
