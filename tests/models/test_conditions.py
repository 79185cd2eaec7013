"""What a network is told, hidden for some of the images."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.models.conditions import GREY, check_labels, hide_some, tell_apart
from diffusevae.models.diffusion import load_diffusion, save_diffusion
from tests.support.toy_models import make_diffusion

COUNT, NONE = 30_000, 10
X_HAT = torch.ones(COUNT, 1, 1, 1)
LABELS = torch.arange(COUNT) % NONE


def shares(condition, labels, share):
    """Return which of the images lack the condition, and which the label."""
    x_hat, told = hide_some(condition, labels, NONE, share, generator(0, "hide"))
    no_x_hat = None if x_hat is None else x_hat.flatten() == GREY
    return no_x_hat, None if told is None else told == NONE


def test_of_two_conditions_a_third_of_the_hidden_lacks_each_and_a_third_both():
    no_x_hat, no_label = shares(X_HAT, LABELS, 0.3)
    for both in (no_x_hat & ~no_label, ~no_x_hat & no_label, no_x_hat & no_label):
        assert float(both.float().mean()) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("given", [(X_HAT, None), (None, LABELS)])
def test_a_condition_alone_is_hidden_in_its_whole_share(given):
    hidden = next(each for each in shares(*given, 0.3) if each is not None)
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.01)


def test_where_nothing_is_to_be_hidden_all_is_told():
    condition, labels = hide_some(X_HAT, LABELS, NONE, 0.0, generator(0))
    assert condition is X_HAT and labels is LABELS
    assert hide_some(None, None, NONE, 0.5, generator(0)) == (None, None)


def test_conditions_are_told_apart_by_what_the_model_takes():
    assert tell_apart([X_HAT, LABELS], conditional=True) == (X_HAT, LABELS)
    assert tell_apart([LABELS], conditional=False) == (None, LABELS)
    assert tell_apart([], conditional=True) == (None, None)


def test_labels_that_a_model_cannot_know_are_one_line():
    check_labels(torch.tensor([0, 9]), 10)
    with pytest.raises(InputError, match="^labels 10: the classes are 0 to 9$"):
        check_labels(torch.tensor([3, 10]), 10)
    with pytest.raises(InputError, match="^labels: this model knows no classes"):
        check_labels(torch.tensor([3]), 0)


def make_labelled(conditional: bool):
    """Return a model of two classes whose network answers every label otherwise."""
    model = make_diffusion("v", conditional=conditional, num_classes=2)
    model.p_uncond = 0.2
    return model.eval()


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("hidden", ["all", "x_hat", "labels"])
def test_guidance_moves_away_from_not_knowing_what_it_is_guided_by(conditional, hidden):
    """By hand: (1 + w) f(all) - w f(less), less being what is named."""
    model = make_labelled(conditional)
    x, t, labels = torch.rand(2, 1, 16, 16), torch.tensor([3, 7]), torch.tensor([0, 1])
    x_hat = torch.rand(2, 1, 16, 16) if conditional else None
    less_x_hat = torch.full_like(x, GREY) if conditional and hidden != "labels" else x_hat
    less_labels = torch.tensor([2, 2]) if hidden != "x_hat" else labels
    told = model.network(x, t, x_hat, labels)
    less = model.network(x, t, less_x_hat, less_labels)
    guided = model.network(x, t, x_hat, labels, 1.5, hidden)
    torch.testing.assert_close(guided, 2.5 * told - 1.5 * less)
    assert torch.equal(model.network(x, t, x_hat, labels, 0.0, hidden), told)


def test_no_label_is_the_label_that_says_nothing_and_labels_make_a_difference():
    model = make_labelled(False)
    x, t = torch.rand(1, 1, 16, 16), torch.tensor([5])
    none = model.network(x, t)
    torch.testing.assert_close(none, model.network(x, t, None, torch.tensor([2])))
    assert not torch.allclose(none, model.network(x, t, None, torch.tensor([1])))


def test_a_checkpoint_remembers_how_many_classes_there_are(tmp_path):
    model = make_labelled(True)
    save_diffusion(tmp_path / "model", model)
    loaded = load_diffusion(tmp_path / "model")
    x, t = torch.rand(1, 1, 16, 16), torch.tensor([5])
    given = x, t, x, torch.tensor([1])
    assert loaded.unet.num_classes == 2
    torch.testing.assert_close(loaded.network(*given), model.network(*given))
