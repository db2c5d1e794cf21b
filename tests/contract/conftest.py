"""The toy task of an algorithm under contract."""

from tests.batch_norm_toy import _norms_where_they_are_needed  # noqa: F401
