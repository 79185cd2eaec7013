"""The team's services as their entry points start them: each real, on this machine's loopback."""

import psycopg
import pytest
from services import DATABASES, Postgres


def test_each_service_has_a_database_that_only_its_own_login_opens(postgres: Postgres):
    postgres.make_databases()  # again: nothing is lost, nothing is refused
    for name in DATABASES:
        with psycopg.connect(postgres.url(name, "postgresql")) as own:
            own.execute("CREATE TABLE mine (x int)")
            own.execute("DROP TABLE mine")
        for other in set(DATABASES) - {name}:
            login = f"postgresql://{name}:{postgres.passwords[name]}@127.0.0.1:{postgres.port}/{other}"
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(login)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(postgres.url(name, "postgresql"), password="wrong")


def test_a_killed_cluster_starts_again_with_what_was_committed(postgres: Postgres):
    address = postgres.create("killed").replace("+psycopg", "")
    with psycopg.connect(address) as client:
        client.execute("CREATE TABLE kept (x int)")
    with psycopg.connect(address) as client:
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
    postgres.start()
    with psycopg.connect(address) as client:
        assert client.execute("SELECT count(*) FROM kept").fetchone() == (0,)
