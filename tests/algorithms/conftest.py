import pytest

# These compare programs that differ, to the last bit, which holds of those that are compiled as usual.
TO_THE_BIT = ("fedbn", "fedfomo", "fedrep", "fedtlu", "fixed_sharing", "lg_fedavg", "pfedla", "pfedme", "player_fl")
TO_THE_BIT += ("sensitivity_cut",)


@pytest.fixture(autouse=True, scope="module")
def _quickly(request):
    """Agreement with an oracle up to 1e-10 asks for no fast programs."""
    if not request.module.__name__.endswith(TO_THE_BIT):
        request.getfixturevalue("compile_quickly")
