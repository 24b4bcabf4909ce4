"""The limit that `map` is measured against: download the same lists in pages, and do nothing with them."""

from __future__ import annotations

import re
import sys

import urllib3

from netinspect.analysis.topology import View, needs
from netinspect.cluster.collect import PAGE
from netinspect.model.topology import Scope

_CONTINUE = re.compile(rb'"continue":"([^"]*)"')


def main(url: str) -> None:
    """Read every list that `map -A` reads, one after the other over one connection, and print the bytes."""
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    pool = urllib3.PoolManager(cert_reqs="CERT_NONE", headers={"Authorization": "Bearer benchmark"})
    total = 0
    for resource in needs(frozenset(View), Scope()):
        fields = {"limit": str(PAGE), **({"labelSelector": resource.selector} if resource.selector else {})}
        while True:
            page = pool.request("GET", url + resource.paths()[0], fields=fields).data
            total += len(page)
            found = _CONTINUE.search(page[:1000])
            if not found or not found.group(1):
                break
            fields["continue"] = found.group(1).decode()
    sys.stdout.write(f"{total}\n")


if __name__ == "__main__":
    main(sys.argv[1])
