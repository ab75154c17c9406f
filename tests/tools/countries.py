"""Writes a MaxMind DB file of the networks on standard input, `network,country` a line: countries.py FILE < LIST

By mmdb_writer, which is not ours. `-` in place of a country is a network without one, as databases of ASNs have.
The database in services/registry/src/networks is made from the list beside it:

    tests/.tools/venv/bin/python tests/tools/countries.py services/registry/src/networks/tests.mmdb < services/registry/src/networks/tests.csv
"""

import sys

from mmdb_writer import MMDBWriter
from netaddr import IPNetwork, IPSet

writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-Country", description={"en": "Networks of a test"})
for line in sys.stdin:
    network, country = line.strip().split(",")
    record = {"autonomous_system_number": 64500} if country == "-" else {"country": {"iso_code": country}}
    writer.insert_network(IPSet([IPNetwork(network)]), record)
writer.to_db_file(sys.argv[1])
