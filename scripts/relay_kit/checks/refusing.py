"""What a relay keeps from the gateway altogether."""

from scripts.relay_kit.bench import WHOLE, Bench, require

KINDS = ("application/json", "text/plain", "message/ohttp-res", "message/ohttp-request", None)
METHODS = ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PATHS = ("/v1/chat/completions", "/health", "/ready", "/signing-key", "/v1/ohttp/config", "/../x")


async def other_media_types(bench: Bench) -> str:
    """Other media types are refused"""
    statuses = []
    for kind in KINDS:
        answer = await bench.nothing_arrives("POST", bench.target.path, kind)
        require(400 <= answer.status < 500, f"{kind} was answered with {answer.status}")
        statuses.append(answer.status)
    return "statuses " + " ".join(map(str, statuses))


async def other_methods(bench: Bench) -> str:
    """Other methods are refused"""
    statuses = []
    for method in METHODS:
        answer = await bench.nothing_arrives(method, bench.target.path, WHOLE)
        if method in ("PUT", "PATCH", "DELETE"):
            require(400 <= answer.status < 500, f"{method} was answered with {answer.status}")
        statuses.append(answer.status)
    return "statuses " + " ".join(map(str, statuses))


async def other_paths(bench: Bench) -> str:
    """Nothing reaches any other resource of the gateway"""
    for path in PATHS:
        for method in ("GET", "POST"):
            before = len(bench.gateway.arrivals)
            await bench.ask(method, path, [("Content-Type", WHOLE)], b"sealed")
            for exchange in bench.gateway.arrivals[before:]:
                known = exchange.target == bench.resource
                require(known, f"{method} {path} reached {exchange.target}")
    return ""
