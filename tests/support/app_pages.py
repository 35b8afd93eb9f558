"""Pages of the app, run without a browser."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

_MAIN = Path(__file__).parents[2] / "app" / "main.py"


def open_page(name: str, **query: str) -> AppTest:
    """Run a page with a query in its address, and fail if it raises."""
    app = AppTest.from_file(str(_MAIN), default_timeout=30)
    app.switch_page(f"pages/{name}.py")
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def score_rows(app: AppTest) -> list[str]:
    """Return the HTML of each score of the example that a page is about."""
    tables = [each.proto.body for each in app.get("html") if 'class="scores"' in each.proto.body]
    return [row for table in tables for row in table.split("<details>")[1:]]


def page_text(app: AppTest) -> str:
    """Return the notes, errors, captions and code of a page as one text."""
    return " ".join(element.value for kind in (app.info, app.error, app.caption, app.code) for element in kind)
