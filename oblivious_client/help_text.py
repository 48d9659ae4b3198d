"""The text of `oblivious-client --help`."""

from __future__ import annotations

from oblivious_client.defaults import DEFAULT_MODEL, MAX_AGE_SECONDS
from oblivious_client.exits import table

HELP = f"""\
oblivious-client - ask a language model without saying who you are

usage:
  oblivious-client setup  [options]                  decide once where to ask: verify, write it down
  oblivious-client config show [options]             tell which setting comes from where
  oblivious-client chat   [options] [QUESTION ...]   ask; without a question talk, or read stdin
  oblivious-client models [options]                  list the models that can be asked
  oblivious-client serve  [options] [install | status | stop]
                                                     be an OpenAI endpoint for this machine
  oblivious-client env    --for PROGRAM              print the settings of a program for that
  oblivious-client verify [options] [FILE]           check an enclave, or a saved answer offline
  oblivious-client keys   [options]                  show the keys that questions are sealed to
  oblivious-client tokens ACTION [options]           buy, list, check, export or import tokens
  oblivious-client provision [options]               hand API keys to an enclave, for its operator
  oblivious-client releases ACTION [options]         get, show, pin and sign releases
  oblivious-client completions bash|zsh|fish         print the completions for a shell
  oblivious-client --version                         show which release this is

Options go before variables of the environment, those before config.toml, which `setup` writes.

where to ask (one of them):
  --relay URL          a relay: it sees your address, never a word  [OBLIVIOUS_RELAY]
  --gateway URL        the gateway itself, for trials: it sees your address  [OBLIVIOUS_GATEWAY]
                       URL is https://..., http://... or unix:PATH
  --proxy URL          go through an HTTP proxy, http://[NAME:WORD@]HOST:PORT; other variables
                       of the environment are not used  [OBLIVIOUS_PROXY]

TLS trusts the authorities that come with the package certifi. Where your network or relay has
authorities of its own, name a PEM file with all that count in SSL_CERT_FILE, or a folder of them
in SSL_CERT_DIR. No authority can vouch for an enclave: that is what the next options are about.

what to demand of the enclave before anything is sent:
  --pcrs FILE          the measurements that `nitro-cli build-enclave` printed, or a JSON list
                       of several such objects: any one of them will do  [OBLIVIOUS_PCRS]
  --trust FILE         without --pcrs: whose releases will do  [OBLIVIOUS_TRUST]
  --releases FILE      the list of releases, in place of one that is fetched
  --mirror VKEY        a mirror that has to have seen the same keys; all that are named, or
                       --mirrors K of them; --mirror-of NAME: of this gateway alone;
                       --mirror-down warn: warn where they say nothing, do not refuse
                       [mirror, mirrors, mirror_of, mirror_down in config.toml]
  --max-age SECONDS    the oldest attestation document to accept (default {MAX_AGE_SECONDS})
  --root FILE          trust this root certificate, not AWS's: for emulated enclaves
  --allow-simulated    accept a simulated enclave, which proves nothing; for trials
  --no-cache           fetch the evidence even if what was verified before still holds

how to pay, where questions cost something (chat, serve, tokens):
  --wallet FILE        the tokens (default $XDG_DATA_HOME/oblivious-inference/wallet.sqlite3)
                       [OBLIVIOUS_WALLET]
  --max-price PRICE    the dearest token that a question may cost, as c16 (chat, serve)
  --voucher FILE       a voucher or an account's key at the issuer, - for standard input
                       [OBLIVIOUS_ISSUER_KEY holds the secret itself]
  --issuer-proxy URL   buy through an HTTP or SOCKS proxy, so that the issuer does not see your
                       address

chat:
  --model NAME         the model (default {DEFAULT_MODEL})  [OBLIVIOUS_MODEL]
                       (setup, config: too)
  --system TEXT        a system prompt
  --image FILE ...     a picture beside the question: PNG, JPEG, WebP or GIF
  --temperature N      from 0, always the likeliest word, to 2
  --max-tokens N       the longest answer, in tokens
  --save FILE          keep question, answer and evidence; `verify FILE` checks them offline
                       What comes on standard input beside a QUESTION is joined to it. On a
                       terminal without a QUESTION several turns: /help lists what they know;
                       nothing that is typed is written to any file.
  --framing whole      for gateways without chunked answers; streams nothing

serve [install | status | stop]:
                       install has it run now and at each login, with the options given here
  --listen HOST:PORT   where (default port 11435 of 127.0.0.1 and [::1]); then set
                       OPENAI_BASE_URL=http://127.0.0.1:11435/v1
  --relay URL ...      more than once: the next is tried when one does not answer
  --allow-origin ORIGIN ...
                       a site whose pages may ask, exactly, such as http://localhost:3000
  --api-key FILE       every request has to carry the key in FILE; wants one anybody who listens
                       elsewhere than on this machine, such as for containers
  --allow-host NAME ...
                       a name by which containers call this endpoint
  --log                a line a request: when, what, how large, how long; never content
  --top-up c1=40,...   keep so many tokens: when half are gone, buy at random times

env --for PROGRAM:     print the settings of codex, claude-code, openwebui, continue, aider,
                       opencode or llm, to ask through `serve`
  --listen HOST:PORT   where that listens; --model NAME, what to ask there

tokens:
  buy    [--price PRICE] [--count 10|50|100]   one pack, of 50 of the cheapest by default
  list   [--json]                              what there is, and when it ends
  check                                        finish lost purchases, tell what was refused
  export FILE --price PRICE --count N [--origin NAME]    move tokens into a file
  import FILE                                  have the tokens of a file

setup:
  --relay URL ...      more than once: `serve` tries them in turns, all others ask the first

verify, keys, models, config:
  --json               print JSON
  --also URL           (keys) have another relay give the same keys, which then sees your address
  --fresh              (with --gateway) have a document made for this very request
  --fresh-through-relay
                       (verify, with --relay) have the relay fetch its copy anew, so that a
                       gateway that does not answer is seen

releases:
  fetch [--forget]     fetch the list now, or begin anew with it
  list, show VERSION   print releases, who signed them and who is trusted to
  pin VERSION          print the measurements of one, or write them to --out FILE, for --pcrs
  audit [VERSION]      check every signature, and say how to build one and compare;
                       --build CHECKOUT does it
  key                  print the public half of --key FILE for --name NAME; --witness: a witness's
  sign FILE            (builders) add a line to a statement, if what was built has its
                       measurements: --measurements FILE, --key FILE, --name NAME
  witness              (witnesses) cosign the list into --out FILE, if it only grew since what
                       is remembered beside FILE: --key, --name
  mirror               (mirrors) look at the keys that are served and say so in --out FILE:
                       --key, --name, --mirror-of NAME; run it every five minutes

provision (once after each start of an enclave; --pcrs is required):
  --secrets FILE       TOML: [keys] with NAME = "API KEY" for each upstream that wants one, and
                       where needed [settings.NAME] with organization = "..." or project = "..."
                       (OpenAI), or access_key_id = "...", session_token = "..." and region = "..."
                       (Amazon, where the API key is the secret access key)
  --admin-key FILE     PEM: the Ed25519 private key of the administrator whom the enclave's
                       measured configuration names

The answer goes to standard output, everything else to standard error.

exit codes:
{table()}
"""
