"""Reads a Parquet file by DuckDB, which is not ours, and says what it sees: {"columns":{name: type},"rows":[…]}."""

import json
import sys

import duckdb

found = duckdb.sql(f"SELECT * FROM read_parquet('{sys.argv[1]}')")
columns = {name: str(kind) for name, kind in zip(found.columns, found.types)}
metadata = duckdb.sql(f"SELECT DISTINCT compression FROM parquet_metadata('{sys.argv[1]}')").fetchall()
duckdb.sql("SET TimeZone = 'UTC'")
times = ", ".join(f"epoch_ms({name})::BIGINT AS {name}" for name, kind in columns.items() if kind.startswith("TIMESTAMP"))
rows = duckdb.sql(f"SELECT * REPLACE ({times}) FROM read_parquet('{sys.argv[1]}')" if times else "SELECT * FROM found")
names = rows.columns
listed = [dict(zip(names, row)) for row in rows.fetchall()]
print(json.dumps({"columns": columns, "compression": [kind for (kind,) in metadata], "rows": listed}))
