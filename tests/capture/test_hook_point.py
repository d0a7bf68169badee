"""Hook points: one spelling, read back as written, unknown names refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import UserError
from capture.hook_point import BLOCK_SITES, GLOBAL_SITES, HookPoint, residual_points

points = st.one_of(
    st.builds(HookPoint, st.integers(0, 9999), st.sampled_from(sorted(BLOCK_SITES))),
    st.builds(HookPoint, st.none(), st.sampled_from(sorted(GLOBAL_SITES))),
)


@given(points)
def test_a_name_is_read_back_as_it_was_written(point):
    assert HookPoint.parse(str(point)) == point


@given(st.sets(points))
def test_no_two_hook_points_share_a_name(some):
    assert len({str(point) for point in some}) == len(some)


def test_a_name_is_transformer_lenss():
    assert str(HookPoint(2, "resid_post")) == "blocks.2.hook_resid_post"
    assert str(HookPoint(None, "embed")) == "hook_embed"


@pytest.mark.parametrize(
    "name", ["", "blocks.2", "blocks.-1.hook_resid_post", "blocks.2.hook_resid_past", "resid_post"]
)
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(UserError, match=r"blocks\.N\.hook_resid_post"):
        HookPoint.parse(name)


@pytest.mark.parametrize(("layer", "site"), [(0, "embed"), (None, "resid_post"), (0, "nowhere")])
def test_a_site_that_does_not_exist_there_is_refused(layer, site):
    with pytest.raises(UserError, match=f"is called '{site}'"):
        HookPoint(layer, site)


def test_a_negative_layer_is_refused():
    with pytest.raises(UserError, match="counted from 0; -1 was given"):
        HookPoint(-1, "resid_post")


@pytest.mark.parametrize("site", ["resid_mid", "router_logits", "ln1_scale", "ln2_scale", "attn_scores"])
def test_sites_where_an_edit_would_be_lost_are_not_editable(site):
    assert not HookPoint(0, site).is_editable


def test_residual_points_are_the_blocks_outputs_in_order():
    assert residual_points(2) == (HookPoint(0, "resid_post"), HookPoint(1, "resid_post"))
