"""Request bodies of the REST contract, one module a resource."""
