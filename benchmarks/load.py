"""Put load on real servers with wrk and print the requests they answer in a second."""

import re
import shutil
import subprocess
import sys

from benchmarks.processes import Served

FRAMEWORKS = ("bare", "spica", "starlette")
CASES = {"plain": "0", "middleware-1": "1", "middleware-5": "5"}
CONNECTIONS = 32


def requests_a_second(wrk: str, port: int, seconds: int) -> float:
    """Run wrk for a while; an answer other than 200 is an error."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 30, check=True
    )
    rate = re.search(r"Requests/sec:\s*([\d.]+)", result.stdout)
    if rate is None or "Non-2xx" in result.stdout:
        raise RuntimeError(f"wrk did not measure what was meant:\n{result.stdout}{result.stderr}")
    return float(rate[1])


def run(servers: list[str], seconds: int) -> int:
    """Print one table: a row for each server and number of middlewares."""
    wrk = shutil.which("wrk")
    if wrk is None:
        print("wrk is needed for this. Debian: apt-get install wrk; macOS: brew install wrk")
        return 1
    print("Requests a second, one worker, wrk with one thread and 32 connections\n")
    print("| server | dispatch middlewares | bare | spica | Starlette | spica/Starlette |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for server in servers:
        for case, middlewares in CASES.items():
            rates = {}
            for framework in FRAMEWORKS:
                print(f"{server}, {framework}, {case} ...", file=sys.stderr, flush=True)
                with Served(server, framework, case) as served:
                    requests_a_second(wrk, served.port, 1)  # to warm up
                    rates[framework] = requests_a_second(wrk, served.port, seconds)
            numbers = " | ".join(f"{rates[framework]:.0f}" for framework in FRAMEWORKS)
            ratio = rates["spica"] / rates["starlette"]
            print(f"| {server} | {middlewares} | {numbers} | {ratio:.2f} |", flush=True)
    return 0
