"""Sample images. Called by the command `demo`.

build.py         layers, configs, manifests, image indexes from a few arguments; pure
images.py        the content of the demo registry: make_images(); pure
referrers.py     artifacts: signature, SBOM, attestation, chart, build cache; pure
push.py          pushes them through the proxy
"""
