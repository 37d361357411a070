"""The keeper of one server process: owns its process group, counts its users, keeps it warm, stops it at last.

Run by `python -I -S` (see `process.GUARDIAN`) with a connected socket as standard input, on which its starter
sends what to run. Standard library only, and nothing imported that is not needed, to be up in milliseconds.

A user is an open connection to the guardian's socket that has said `hold`; the starter's own is the first. The
kernel closes the connections of a process that dies, however it dies: that is how a lost user is noticed. One JSON
object a line, both ways.

    in   {"op": "hold", "idle_timeout_s": S, "keepalive": {…}}   count me among the users (see `keepalive.Wanted`)
         {"op": "who"}                         only tell me what you keep
         {"op": "ready", "facts": {…}}         it answers and is proved to be the right one
         {"op": "pause"}                       my requests run, or I measure: touch nothing until I say …
         {"op": "resume"}                      … this, or my connection ends
         {"op": "keepalive", "every_s": E, "max_tokens": N}   by hand: from now on so, 0 for not at all
         {"op": "release"}                     I am no user any more
         {"op": "stop"}                        stop it, whoever uses it
         {"op": "kill", "why": …}              it hangs: kill it; its users are told why
    out  {"say": "server", "nonce": …, "pid": …, "state": …, "lead": …, "facts": …, "users": …, "keepalive": …,
          "stops_in_s": …}                     the answer to `hold`, `who` and `keepalive`
         {"say": "lead"}                       whoever watched over the start has left: it is yours now
         {"say": "ready", "facts": {…}}
         {"say": "kept", "users": …, "idle_timeout_s": …}   the answer to `release` where the server stays …
         {"say": "stopping"}                   … and where it does not
         {"say": "gone", "exit": N, "asked": …, "why": …}   negative: the signal that ended it; then it closes
         {"say": "failed", "why": …}           it could not even be started
"""
