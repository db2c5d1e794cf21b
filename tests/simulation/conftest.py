"""The toy task of an algorithm whose state is saved."""

from tests.batch_norm_toy import _norms_where_they_are_needed  # noqa: F401
