"""The page of a group model from plain values."""

from dataclasses import replace
from pathlib import Path

import pytest

from rls_bids.reports import html, methods, pages
from tests.unit.test_reports import EVIL, SVG, _check, _write, make_settings

CONTRAST = pages.ContrastWords(
    title="RLS > HC",
    hypothesis="RLS and HC have the same mean, given age.",
    sign="Positive t: RLS > HC; negative t: HC > RLS.",
)


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path)


@pytest.fixture
def group_page(settings) -> pages.GroupPage:
    root = Path(settings.input.output_dir)
    picture = "group/model-main/figures/a b.svg"
    _write(root, picture, SVG)
    item = pages.FigureItem(title="t map", path=picture, alt="t map of a seed")
    table = pages.Table(caption=EVIL, header=("", "RLS", "HC"), rows=(("n", "8", "7"),))
    maps = (
        pages.Section(anchor="family", title="All maps", text=("1 of 2 maps has an effect.",)),
        pages.Section(
            anchor="seed-thal", title="thal_VPL_L", text=("Survives.",), figures=(item,)
        ),
    )
    return pages.GroupPage(
        name="main", version="0", groups=("RLS", "HC"), measure="Fisher z",
        contrasts=(CONTRAST,), tested=table, codings=(table,),
        exclusions=table, exclusion_sentence="They do not differ.",
        left_out=replace(table, rows=()), included=table, characteristics=table,
        design_figures=(item, pages.FigureItem(title="Dots", path=None, alt="", reason="lost")),
        maps=maps, methods=methods.methods_text(replace(settings, analysis_level="group")),
    )  # fmt: skip


def test_group_page_states_hypothesis_signs_and_corrections(group_page, settings):
    root = Path(settings.input.output_dir)
    path = html.write_group_page(root, group_page)
    assert path == root / "group" / "model-main.html"
    shown = _check(path, root)
    assert "RLS compared with HC" in shown.text
    assert CONTRAST.hypothesis in shown.text
    assert shown.text.count(CONTRAST.sign) == 2
    assert "1 of 2 maps has an effect." in shown.text
    assert "Dots not made: lost" in shown.text
    assert EVIL in shown.text
    place = [
        shown.text.index(word) for word in ("They do not differ", "Every participant", "Survives.")
    ]
    assert place == sorted(place)  # exclusions come first


@pytest.mark.parametrize(
    ("groups", "title"),
    [(("A", "B", "C"), "A, B and C compared"), (("A", "B"), "A compared with B")],
)
def test_titles_name_the_groups(group_page, groups, title):
    assert html.group_title(replace(group_page, groups=groups)) == title


def test_without_groups_a_page_is_called_after_its_contrasts(group_page):
    mean = replace(CONTRAST, title="post > pre")
    one = replace(group_page, groups=(), contrasts=(mean, CONTRAST))
    assert html.group_title(one) == "post > pre; RLS > HC"
