"""A SQL query on generated tables."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import Random

from .tool import Arguments, Specification, clipped

ORDERS = 60_000
CUSTOMERS = 4_000


class SqlTool:
    """Tables `customers` (id, city, since) and `orders` (id, customer, product, quantity, price, day)."""

    specification = Specification(
        "sql_query", "Run one SQL query on the shop's database; return its rows.", {"query": ("string", "SQLite SQL")}
    )

    def __init__(self, database: Path, seed: int, cities: Sequence[str], products: Sequence[str]) -> None:
        self._database = database
        if not database.exists():
            _create(database, Random(seed), cities, products)

    async def run(self, arguments: Arguments) -> str:
        return await asyncio.to_thread(self._query, str(arguments["query"]))

    def _query(self, query: str) -> str:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
                cursor = connection.execute(query)
                names = [column[0] for column in cursor.description or ()]
                rows = cursor.fetchmany(20)
        except sqlite3.Error as error:
            return f"error: {error}"
        lines = [", ".join(names), *(", ".join(str(value) for value in row) for row in rows)]
        return clipped("\n".join(lines))


def _create(database: Path, random: Random, cities: Sequence[str], products: Sequence[str]) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, city TEXT, since INTEGER)")
        connection.execute(
            "CREATE TABLE orders"
            " (id INTEGER PRIMARY KEY, customer INTEGER, product TEXT, quantity INTEGER, price REAL, day INTEGER)"
        )
        customers = ((key, random.choice(cities), random.randint(2015, 2025)) for key in range(CUSTOMERS))
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", customers)
        orders = (
            (
                key,
                random.randrange(CUSTOMERS),
                random.choice(products),
                random.randint(1, 9),
                round(random.lognormvariate(3.5, 0.8), 2),
                random.randint(1, 365),
            )
            for key in range(ORDERS)
        )
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", orders)
