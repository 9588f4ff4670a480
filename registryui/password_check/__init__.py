"""The process `passwords`: checks passwords with slow hashes for nginx, without Django.

nginx computes a hash inside its event loop, which would block the proxy. /_login of
deploy/nginx.conf.template asks here for every name without a quick hash (accounts/publish.py marks
those), and for wrong secrets of the others. Why: docs/decisions/0010-guessing.md.

    __main__ ── HTTP on a Unix socket, the order of all steps
    users    ── the two htpasswd files
    hashers  ── processes that compute hashes
    memory   ── which logins were right
    turns    ── who is next, and who is told to wait
"""
