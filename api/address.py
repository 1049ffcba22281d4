"""Where does the API lie? Apart from everything else, since also roles that serve no request know it."""

PREFIX = "/api/v1"
