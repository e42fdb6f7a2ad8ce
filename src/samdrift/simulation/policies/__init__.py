"""Those whose turn it could be by: what others ship, and what we do.

Each is one file and one idea. `orders` says in which order requests start where a policy sits in the engine
and admits while something fits (`gate`); `production` is our scheduler, told what happens and nothing else.
"""
