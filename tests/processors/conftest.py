"""Both databases of the read models, as the projections' tests have them."""

from tests.projections.conftest import database, kind, new_url

__all__ = ["database", "kind", "new_url"]
