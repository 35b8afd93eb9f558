"""No page has a serious fault of accessibility, as axe-core sees it, in either theme."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from samplescope_app.data.navigation import PAGES
from tests.support.app_driver import THEMES, App

_GRAVE = ("serious", "critical")


@THEMES
@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_a_serious_fault(app: App, page: Page, name: str):
    app.open(name)
    closed = page.locator("[data-testid=stExpander] details:not([open]) summary")
    while closed.count():  # what is folded away is not looked at
        closed.first.click()
        app.settle()
    for chart in page.get_by_test_id("stPlotlyChart").all():
        expect(chart.locator(".main-svg").first).to_be_attached()
    found = [
        f"{fault['id']} ({fault['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in _GRAVE
        for node in fault["nodes"]
    ]
    assert found == []
