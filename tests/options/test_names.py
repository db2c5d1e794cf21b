"""Errors about names stay one line that can be read."""

from fedjax_layers.options import unknown_name


def test_few_names_are_listed_and_of_many_the_nearest():
    assert str(unknown_name("fruit", "aple", ["pear", "apple"])) == (
        "fruit: expected one of apple, pear, got 'aple'; did you mean 'apple'?"
    )
    many = [f"{letter}{number}" for letter in "abc" for number in range(100)] + ["threshold"]
    assert str(unknown_name("--vary", "thresold", many)) == (
        "--vary: expected one of threshold, ... (301 names), got 'thresold'; did you mean 'threshold'?"
    )
    assert len(str(unknown_name("--vary", "zzz", many)).split(", ")) == 302, "none is near: all of them are told"
