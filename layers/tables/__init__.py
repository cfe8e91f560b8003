"""A person's own tables: read, turned into numbers by stated decisions, and predicted from."""
