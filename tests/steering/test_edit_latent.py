"""Acceptance fact 7 of steering: a latent is edited with the SAE's error kept; and what is no such edit is refused."""

from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from sae.autoencoder import Autoencoder
from steering.methods.edit_latent import EditLatent
from tests.saes import normal
from tests.shelves import HOOK, random_sae, shelve

AT = HookPoint.parse(HOOK)
X = normal(1, 9, 32, seed=3)


@pytest.fixture(params=["none", "constant", "norm_to_sqrt_d", "mean_and_std"])
def sae(request) -> Autoencoder:
    """An SAE of each normalisation."""
    made = random_sae(32)
    constant = 1.7 if request.param == "constant" else 1.0
    return replace(made, facts=replace(made.facts, normalisation=request.param, norm_constant=constant))


def on_shelf(sae: Autoencoder, monkeypatch) -> str:
    """The digest of an SAE that the intervention will find, whatever layout could hold it."""
    monkeypatch.setattr("steering.methods.edit_latent.load_shelved", lambda digest: sae)
    return sae.digest


def fires_on(sae: Autoencoder, row: int) -> tuple[int, float]:
    """The strongest latent of a row of X, and its value there."""
    codes = sae.encode(X[0])
    return int(codes.indices[row, 0]), float(codes.values[row, 0])


def with_value(sae: Autoencoder, latent: int, value) -> torch.Tensor:
    """The reconstruction of X with one latent's value replaced, plus the error of the true reconstruction."""
    codes = sae.encode(X[0])
    code = torch.zeros(9, sae.facts.d_sae).scatter_add(1, codes.indices, codes.values)
    changed = code.clone()
    changed[:, latent] = value(code[:, latent])
    _, scaling = sae._read(X[0])
    (there, here) = (one @ sae.W_dec + sae.b_dec for one in (changed, code))
    if scaling is not None:
        there, here = scaling.undo(there), scaling.undo(here)
    return (there + (X[0] - here))[None]


@pytest.mark.parametrize("mode", ["add", "clamp", "ablate"])
def test_it_is_the_changed_reconstruction_plus_the_error(sae, mode, monkeypatch):
    latent, _ = fires_on(sae, 4)
    value = {"add": lambda z: z + 2.5, "clamp": lambda z: 2.5, "ablate": lambda z: 0.0}[mode]
    edit = EditLatent(AT, on_shelf(sae, monkeypatch), latent, mode, 2.5, from_pos=0)
    torch.testing.assert_close(edit(X, AT, 0), with_value(sae, latent, value), atol=1e-5, rtol=1e-5)


def test_clamping_to_the_current_value_changes_nothing(sae, monkeypatch):
    latent, now = fires_on(sae, 4)
    edit = EditLatent(AT, on_shelf(sae, monkeypatch), latent, "clamp", now, from_pos=0)
    # One row alone is encoded with other rounding than among many.
    torch.testing.assert_close(edit(X[:, 4:5], AT, 0), X[:, 4:5], atol=1e-5, rtol=0)


def test_add_and_clamp_agree_where_the_latent_is_silent(sae, monkeypatch):
    digest, latent = on_shelf(sae, monkeypatch), fires_on(sae, 4)[0]
    codes = sae.encode(X[0])
    is_silent = ~((codes.indices == latent) & (codes.values > 0)).any(dim=1)
    added, clamped = (EditLatent(AT, digest, latent, mode, 3.0, from_pos=0)(X, AT, 0) for mode in ("add", "clamp"))
    assert torch.equal(added[:, is_silent], clamped[:, is_silent])
    assert is_silent.any()
    assert not torch.equal(added[:, 4], clamped[:, 4])


def test_ablating_is_clamping_to_zero(sae, monkeypatch):
    digest, latent = on_shelf(sae, monkeypatch), fires_on(sae, 4)[0]
    ablated, clamped = (EditLatent(AT, digest, latent, mode, 0.0, from_pos=0)(X, AT, 0) for mode in ("ablate", "clamp"))
    assert torch.equal(ablated, clamped)


def test_positions_before_the_first_are_left_alone():
    sae = random_sae(32)
    shelve(sae, "edits")
    changed = EditLatent(AT, sae.digest, 5, "add", 2.0)(X, AT, 0)
    assert torch.equal(changed[:, 0], X[:, 0])
    torch.testing.assert_close(changed[:, 1:], X[:, 1:] + 2.0 * sae.W_dec[5])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("sae", "0" * 32, "No SAE on the shelf"),
        ("sae", "", "No SAE on the shelf"),
        ("latent", 64, "has latents 0 to 63; 64 was given"),
        ("latent", -1, "cannot be read"),
        ("mode", "set", "is none of add, clamp, ablate"),
        ("value", float("nan"), "cannot be read"),
        ("at", "blocks.2.hook_resid_post", "does not write at"),
    ],
)
def test_a_recipe_that_fits_no_sae_is_refused_in_words(field, value, words):
    sae = random_sae(32)
    shelve(sae, "edits")
    recipe = EditLatent(AT, sae.digest, 5, "add", 2.0).recipe()
    assert operator_from_recipe(recipe) == EditLatent(AT, sae.digest, 5, "add", 2.0)
    with pytest.raises(UserError, match=words):
        operator_from_recipe({**recipe, field: value})


def test_an_activation_of_another_width_is_refused_in_words():
    sae = random_sae(32)
    shelve(sae, "edits")
    with pytest.raises(UserError, match=r"writes 32 numbers, and blocks\.1\.hook_resid_post has 12"):
        EditLatent(AT, sae.digest, 5, "add", 2.0)(X[..., :12], AT, 0)
