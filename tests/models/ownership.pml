/* Who may open a sealed request in a cluster, for every order of events: no request is opened twice.

   One slot of every key is looked at, as tables treat all alike, and one request for it, which the
   host sends to any member at any time. The host boots and kills enclaves, has any join any leader,
   cuts any connection, lets several lead. Members drop keys whenever they like (these ended, or were
   too many), and forget then what they opened with them.

   FAULT=1  an enclave that joins again keeps its identifier
   FAULT=2  a leader makes a new table for a key that is there already
   FAULT=3  an enclave that was lost and is booted again has its identifier back
   Each of these makes `spin` find a request that is opened twice. */

#ifndef FAULT
#define FAULT 0
#endif
#ifndef MEMBERS
#define MEMBERS 2
#endif
#ifndef KEYS
#define KEYS 2
#endif
#ifndef IDS
#define IDS 4
#endif
#define NONE 7

byte id[MEMBERS];              /* of this stay in a cluster; 0 before the first */
byte up[MEMBERS];              /* whom it follows; itself if it leads; NONE if it has lost its leader */
bool alive[MEMBERS];
bool holds[MEMBERS * KEYS];
byte under[MEMBERS * KEYS];    /* the identifier under which it got the key */
byte over[MEMBERS * KEYS];     /* the stay in which the key ended for it */
bool opened[MEMBERS * KEYS];   /* its memory against replays */
byte owner[KEYS];              /* of the slot, in the key's table; 0 is somebody who is gone */
byte count[KEYS];
byte keys = 0;
byte ids = 0;

#define at(m, k) (m) * KEYS + (k)

inline fresh(m) {
    ids++;
    id[m] = ids
}

inline make(m, who) {
    owner[keys] = who;
    holds[at(m, keys)] = true;
    under[at(m, keys)] = id[m];
    keys++
}

inline lose_all(m) {
    for (k : 0 .. KEYS - 1) {
        holds[at(m, k)] = false;
        opened[at(m, k)] = false;
        over[at(m, k)] = 0;
        under[at(m, k)] = 0
    }
}

active proctype host() {
    byte m, l, k;
end:
    do
    :: atomic {
        select(m : 0 .. MEMBERS - 1);
        select(l : 0 .. MEMBERS - 1);
        if
        /* a first enclave, or one more first one */
        :: !alive[m] && ids < IDS && keys < KEYS ->
            alive[m] = true; fresh(m); up[m] = m; make(m, id[m])
        /* an enclave joins, joins again, or stops leading to follow another */
        :: l != m && alive[l] && up[l] == l && ids < IDS && (!alive[m] || up[m] == NONE || up[m] == m) ->
#if FAULT == 1
            if :: id[m] == 0 || !alive[m] -> fresh(m) :: else fi;
#elif FAULT == 3
            if :: id[m] == 0 || alive[m] -> fresh(m) :: else fi;
#else
            fresh(m);
#endif
            /* another leader may say of a key that it ends later; what is held ends as before */
            for (k : 0 .. KEYS - 1) { if :: !holds[at(m, k)] -> over[at(m, k)] = 0 :: else fi }
            alive[m] = true; up[m] = l
        /* a state arrives, or part of the leader's keys, late or early */
        :: l != m && alive[m] && alive[l] && up[m] == l ->
            select(k : 0 .. KEYS - 1);
            if
            :: k < keys && holds[at(l, k)] && !holds[at(m, k)] ->
                holds[at(m, k)] = true; under[at(m, k)] = id[m]
            :: else
            fi
        /* a leader makes a key: the slot is its own, a follower's, or somebody's who is gone */
        :: alive[m] && up[m] == m && keys < KEYS ->
            if
            :: make(m, id[m])
            :: make(m, 0)
            :: alive[l] && up[l] == m && l != m -> make(m, id[l])
            fi
#if FAULT == 2
        :: alive[m] && up[m] == m && alive[l] && up[l] == m && l != m && keys > 0 ->
            select(k : 0 .. KEYS - 1);
            if :: k < keys && holds[at(m, k)] -> owner[k] = id[l]; under[at(l, k)] = id[l]; holds[at(l, k)] = true :: else fi
#endif
        /* a connection is cut; who has lost its leader leads */
        :: alive[m] && up[m] != m && up[m] != NONE -> up[m] = NONE
        :: alive[m] && up[m] == NONE -> up[m] = m
        /* an enclave is lost, with its keys and its memory */
        :: alive[m] -> alive[m] = false; up[m] = NONE; lose_all(m)
        /* a key ends for one enclave, whose clock may be ahead */
        :: alive[m] ->
            select(k : 0 .. KEYS - 1);
            if
            :: holds[at(m, k)] ->
                holds[at(m, k)] = false; opened[at(m, k)] = false; over[at(m, k)] = id[m]; under[at(m, k)] = 0
            :: else
            fi
        /* the host sends the request of some key to some enclave, as its map says or not */
        :: alive[m] ->
            select(k : 0 .. KEYS - 1);
            if
            :: k < keys && holds[at(m, k)] && under[at(m, k)] == owner[k] && over[at(m, k)] != under[at(m, k)] && !opened[at(m, k)] ->
                opened[at(m, k)] = true; count[k]++;
                assert(count[k] <= 1)
            :: else
            fi
        :: else
        fi;
        m = 0; l = 0; k = 0
    }
    od
}
