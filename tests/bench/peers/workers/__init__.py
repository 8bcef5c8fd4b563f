"""The programs of the peers, which run in ``.venv-peers``: they cannot import anything of the bridge.

They find the database in libpq's variables (PGHOST and so on), and RECEIVER_URL and CA_FILE beside them.
"""
