"""The local endpoint, which `oblivious-client serve` keeps up for the programs of one machine.

`running` keeps it up, `listening` takes connections, `http` speaks HTTP/1.1 with each, `access`
says who may ask. `endpoint` finds the resource in `surfaces`, whose errors `refusals` writes, and
asks through `relays`, the first that answers. Answers that stream go through `waiting`, which keeps
a silent one alive, and `passing`, which holds the end back until it has verified.
"""
