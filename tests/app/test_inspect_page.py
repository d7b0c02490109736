"""The inspect page: figures, table, flags that are in the database at once."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from streamlit.testing.v1 import AppTest

from components.selection import Picked
from core.scores import top_k
from core.store import Store

OpenApp = Callable[..., AppTest]


def rows_table(app: AppTest) -> pd.DataFrame:
    return app.dataframe[0].value


def flagged(store: Store, fingerprint: str) -> set[int]:
    flags = store.flags(fingerprint)
    return set(flags.loc[flags["flagged"], "row_id"])


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_table_and_figures_come_from_the_scores(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app("inspect_rows", sample)
    table = rows_table(app)
    scores = store.scores(store.score_runs(sample)[0].run_id)
    assert len(table) == store.dataset(sample).n_rows
    assert table["self_inf_n"].is_monotonic_decreasing
    assert table["row_id"].tolist()[:100] == top_k(scores, "self_inf_n", 100)
    shown = metrics(app)
    assert shown["Rows"] == f"{len(table):,}"
    assert shown["Flagged"] == "0"
    assert shown["Truncated"] == f"{scores['truncated'].mean():.1%}"
    assert len(app.get("plotly_chart")) == 2


def test_the_unit_of_length_changes_self_inf_n(open_app: OpenApp, sample: str) -> None:
    app = open_app("inspect_rows", sample)
    app.segmented_control(key="inspect_unit").set_value("words").run()
    table = rows_table(app)
    expected = np.log1p(table["self_inf"]) + np.log1p(table["answer_words"])
    assert np.allclose(table["self_inf_n"], expected)
    # Words mislead in the sample's Japanese rows, and the page says so.
    assert any("Use tokens" in warning.value for warning in app.warning)


def test_flagging_the_top_is_stored_and_survives_another_session(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app("inspect_rows", sample)
    app.number_input(key="top_k").set_value(20).run()
    app.button(key="flag_top").click().run()
    scores = store.scores(store.score_runs(sample)[0].run_id)
    assert flagged(store, sample) == set(top_k(scores, "self_inf_n", 20))
    assert metrics(open_app("inspect_rows", sample))["Flagged"] == "20"

    app.number_input(key="top_k").set_value(5).run()
    app.button(key="unflag_top").click().run()
    assert flagged(store, sample) == set(top_k(scores, "self_inf_n", 20)[5:])


def test_a_selection_filters_the_table_and_is_flagged_as_a_whole(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app("inspect_rows", sample)
    ids = sorted(rows_table(app)["row_id"].tolist()[10:17])
    app.session_state["picked"] = Picked(sample, ids, "length")
    app.run()
    assert sorted(rows_table(app)["row_id"]) == ids
    app.button(key="flag_selection").click().run()
    assert flagged(store, sample) == set(ids)
    assert rows_table(app)["flagged"].all()
    app.button(key="unflag_selection").click().run()
    assert not flagged(store, sample)
    app.button(key="clear_selection").click().run()
    assert len(rows_table(app)) == store.dataset(sample).n_rows


def test_filters_narrow_the_table(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app("inspect_rows", sample)
    supplier = store.rows(sample)["supplier"].mode()[0]
    app.multiselect(key="filter_suppliers").set_value([supplier]).run()
    assert set(rows_table(app)["supplier"]) == {supplier}
    app.text_input(key="filter_text").set_value("no row has this text 7f3a").run()
    assert rows_table(app).empty
    assert not app.exception


def test_an_open_row_shows_its_text_as_text_and_is_flagged_with_a_note(
    open_app: OpenApp, sample: str, store: Store
) -> None:
    app = open_app("inspect_rows", sample)
    row_id = int(rows_table(app)["row_id"].iloc[3])
    row = store.rows(sample).set_index("row_id").loc[row_id]
    app.session_state["open_row"] = row_id
    app.run()
    assert [block.value for block in app.code] == [row["prompt"], row["answer"]]
    app.text_input(key=f"note_{sample}_{row_id}").set_value("one word, no context").run()
    app.button(key="toggle_flag").click().run()
    flag = store.flags(sample).set_index("row_id").loc[row_id]
    assert (flag["flagged"], flag["note"]) == (True, "one word, no context")
    app.button(key="toggle_flag").click().run()
    assert row_id not in flagged(store, sample)


def test_charts_follow_the_choice_of_score_and_colour(open_app: OpenApp, sample: str) -> None:
    app = open_app("inspect_rows", sample)
    for score in ("self_inf", "loss"):
        app.segmented_control(key="inspect_score").set_value(score).run()
        assert rows_table(app)[score].is_monotonic_decreasing
    app.segmented_control(key="inspect_group").set_value("supplier").run()
    app.toggle(key="inspect_log").set_value(False).run()
    assert not app.exception


def test_an_unscored_dataset_says_the_next_click(open_app: OpenApp, store: Store) -> None:
    from tests.unit.workspaces import tiny_dataset

    record, _ = store.import_dataset(tiny_dataset(9, "fresh", "ffee00112233aabb"), None, "local")
    app = open_app("inspect_rows", record.fingerprint)
    assert any("fresh is not scored yet" in markdown.value for markdown in app.markdown)
    app.button(key="empty_action").click().run()
    assert app.title[0].value == "Datasets"


def test_pages_speak_japanese(open_app: OpenApp, sample: str) -> None:
    for page, title in (("datasets", "データセット"), ("inspect_rows", "精査"), ("probe", "試験学習")):
        assert open_app(page, sample, lang="ja").title[0].value == title
