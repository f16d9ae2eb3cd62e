"""Questions about a shop's orders, answered from its database."""

from random import Random

from ..plan import Draft, ToolUse
from ..tools.sql import CITIES, PRODUCTS
from .compose import Request, chain

ROLE = (
    "You are an analyst of a furniture shop. Its database has the tables customers (id, city, since) and "
    "orders (id, customer, product, quantity, price, day)."
)
TOOLS = ("sql_query", "python")

OPENINGS: tuple[Request, ...] = (
    ("Do we sell a {product} in {city}? {style}", ("yes_no", "sentence")),
    ("How would you find our best customers in {city}? {style}", ("steps", "sentences", "paragraph")),
    ("Which table holds the price of a {product}? {style}", ("word", "sentence")),
    ("Why do customers in {city} buy a {product}? {style}", ("three_items", "paragraph", "long_list", "sentences")),
    ("What makes a good {product}? {style}", ("three_items", "long_list", "paragraph", "sentence")),
    ("Write a text for our catalogue about the {product}. {style}", ("paragraph", "paragraphs", "sentence")),
    ("How can we sell more of the {product} in {city}? {style}", ("long_list", "three_items", "paragraphs", "steps")),
)
MIDDLE: tuple[Request, ...] = (
    ("These are the rows. What stands out? {style}", ("sentence", "sentences", "three_items")),
    ("Is that more than you expected? {style}", ("yes_no", "sentence")),
    ("Which column matters most? {style}", ("word", "sentence")),
    ("What should we ask the database next? {style}", ("sentence", "three_items")),
    ("Tell me how many rows there are. {style}", ("number", "sentence")),
)
CLOSINGS: tuple[Request, ...] = (
    ("Sum it up for the manager of {city}. {style}", ("sentence", "paragraph", "three_items")),
    ("Write the report about the {product} for the board. {style}", ("paragraphs", "long_list")),
    ("So, should we order more of the {product}? {style}", ("yes_no", "word", "sentences")),
    ("What is the largest figure above? {style}", ("number",)),
)
QUERIES = (
    "SELECT count(*) FROM orders WHERE product = '{product}'",
    "SELECT avg(price) FROM orders WHERE day > {day}",
    "SELECT product, sum(quantity) FROM orders GROUP BY product ORDER BY 2 DESC LIMIT {limit}",
    "SELECT city, count(*), avg(price) FROM orders JOIN customers ON customer = customers.id GROUP BY city",
    "SELECT day, sum(quantity * price) AS sales FROM orders WHERE product = '{product}' GROUP BY day LIMIT {limit}",
    "SELECT customer, count(*) AS n FROM orders GROUP BY customer HAVING n > {limit} ORDER BY n DESC LIMIT 5",
    "SELECT a.day, count(*) FROM orders a JOIN orders b USING (customer) WHERE a.id < {day} GROUP BY 1 LIMIT {limit}",
    "SELECT * FROM customers WHERE city = '{city}' AND since = {year} LIMIT {limit}",
    "SELECT count(*) FROM invoices",  # there is no such table: an error is a result as well
)


def draft(random: Random) -> Draft:
    city, product = random.choice(CITIES), random.choice(PRODUCTS)
    uses = [_query(random, city, product) for _ in range(random.choice((1, 2, 3, 4, 6)))]
    return chain(
        random,
        system=ROLE,
        tools=TOOLS,
        uses=uses,
        opening=random.choice(OPENINGS),
        middle=MIDDLE,
        closing=CLOSINGS,
        city=city,
        product=product,
    )


def _query(random: Random, city: str, product: str) -> ToolUse:
    query = random.choice(QUERIES).format(
        city=city,
        product=product,
        day=random.randint(20, 360),
        limit=random.randint(3, 18),
        year=random.randint(2015, 2025),
    )
    return ToolUse("sql_query", {"query": query})
