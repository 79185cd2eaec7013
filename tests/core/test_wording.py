from diffusevae.core.wording import suggest


def test_suggest_gives_the_near_name_else_all():
    assert suggest("lerning_rate", ["learning_rate", "loss"]) == "did you mean 'learning_rate'?"
    assert suggest("qqq", ["b", "a"]) == "known: a, b"
