"""What a user can do about an answer that is not sealed, and who it is that does not answer."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from oblivious_client import trust
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import ClientError, ConnectionLost, NoAnswer, NoConnection
from protocol.registry import PROBLEM_JSON, media_type

_ADVICE = {
    400: "the gateway calls the sealed request malformed; client and gateway may not match",
    404: "check the address: sealed requests are not taken there",
    405: "check the address: sealed requests are not taken there",
    408: "the upload was too slow; try again",
    413: "the question is too large for the gateway",
    415: "the gateway or relay does not know this framing; try --framing whole",
    422: "the gateway does not know the attested key even after fetching it anew; try later",
    429: "the relay limits how often you may ask; try later",
    503: "the gateway is full or starting; try again shortly",
}

# Who speaks at the address that was asked, and who is behind it.
_PARTIES = {
    Role.RELAY: ("the relay", "its gateway"),
    Role.GATEWAY: ("what stands before the gateway", "the enclave"),
}
_SILENT = {
    502: "{near} answers, but does not reach {far}, which is down or has moved: try again later",
    503: "{near} answers, but has no way to {far} at the moment, or is full: try again shortly",
    504: "{near} answers, but {far} says nothing in time: try again later",
}
_DOWN = "it, or your network, is down for now: try again shortly"
_UNTRUSTED = (
    "the certificate there does not hold: somebody is in the way, or its operator has to renew it"
)
_UNVOUCHED = (
    "no authority in {where} vouches for the certificate there: {what}, or somebody is in the way"
)
# Of OpenSSL's verification (x509_vfy.h): nobody who is trusted has signed it.
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_PROXY = {
    407: "the proxy wants a name and a word: --proxy http://NAME:WORD@HOST:PORT",
    502: "the proxy answers, but does not reach the relay: check the relay's address, or try later",
    503: "the proxy answers, but has no way to the relay at the moment: try again shortly",
    504: "the proxy answers, but the relay says nothing in time: try again later",
}


def warnings(endpoint: Endpoint) -> list[str]:
    """Return what somebody sees of whoever asks there."""
    found = []
    if endpoint.role is Role.GATEWAY:
        found.append("note: no relay: the gateway's operator sees your address")
    if not endpoint.is_protected:
        found.append("note: no TLS: the network sees that you ask (not what); use https://")
    return found


def silence(response: httpx.Response, role: Role) -> str | None:
    """Return who does not answer, if that is what a 502, 503 or 504 tells.

    A gateway's own 503 is a problem document (RFC 9457), which relays pass on as it is.
    """
    kind = media_type(response.headers.get("content-type", "").encode("ascii", "replace"))
    sentence = None if kind == PROBLEM_JSON else _SILENT.get(response.status_code)
    near, far = _PARTIES[role]
    return sentence and sentence.format(near=near, far=far)


def on_refusal(response: httpx.Response, role: Role) -> str:
    """Return what to do about an answer to a sealed request that is not sealed."""
    otherwise = "check the address of the relay or gateway"
    if response.is_server_error:
        otherwise = "the relay or gateway is at fault: try again later"
    return silence(response, role) or _ADVICE.get(response.status_code, otherwise)


def on_silence(endpoint: Endpoint, proxy: str | None, *, is_known: bool) -> str:
    """Return what to do about a connection that does not come about, or ends before an answer.

    An address that has led to evidence which verified is right: then nobody should change it.
    """
    near, _ = _PARTIES[endpoint.role]
    if is_known:
        return f"{near} has answered before: {_DOWN}"
    place = f"unix:{endpoint.socket_path}" if endpoint.socket_path else str(endpoint.url)
    through = None if proxy is None else str(httpx.URL(proxy).copy_with(userinfo=b""))
    places = " and ".join(each for each in (through, place) if each)
    return f"if {places} is right, {_DOWN}"


def on_distrust(error: ssl.SSLCertVerificationError) -> str:
    """Return what to do about a certificate that does not hold."""
    if error.verify_code not in _UNKNOWN_AUTHORITY:
        return _UNTRUSTED
    variable = trust.named()
    if variable is None:
        what = f"if it is of your own network, name it in {trust.FILE}"
        return _UNVOUCHED.format(where="the package certifi", what=what)
    where = f"{os.environ[variable]}, which {variable} names,"
    return _UNVOUCHED.format(where=where, what="one is missing there")


def on_proxy(said: str) -> str | None:
    """Return what to do about a proxy that opens no way; it says a status and its name."""
    status = said.partition(" ")[0]
    return _PROXY.get(int(status)) if status.isdecimal() else None


@contextmanager
def advising(endpoint: Endpoint, proxy: str | None, *, is_known: bool) -> Iterator[None]:
    """Turn a failure of the connection into an error of ours, which is one of httpx as well."""
    try:
        yield
    except ClientError:
        raise
    except httpx.TimeoutException as error:
        raise NoAnswer from error
    except httpx.ConnectError as error:
        silent = on_silence(endpoint, proxy, is_known=is_known)
        untrusted = _untrusted(error)
        advice = silent if untrusted is None else on_distrust(untrusted)
        raise NoConnection(_told("no connection", error), advice=advice) from error
    except httpx.ProxyError as error:
        advice = on_proxy(str(error)) or on_silence(endpoint, proxy, is_known=is_known)
        raise NoConnection(f"the proxy answered {error}", advice=advice) from error
    except httpx.TransportError as error:
        advice = on_silence(endpoint, proxy, is_known=is_known)
        raise ConnectionLost(_told("the connection was lost", error), advice=advice) from error


def _untrusted(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the certificate that does not verify at the bottom of an error, if there is one."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _told(what: str, error: Exception) -> str:
    return f"{what}: {error}" if str(error) else what
