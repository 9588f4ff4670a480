"""Made images, to have something to look at. Called by the command `demo`.

build.py         layers, configs, manifests, image indexes out of a few words; pure
images.py        what the demo registry holds: make_images(); pure
referrers.py     what is no image: signature, SBOM, attestation, chart, build cache; pure
push.py          sends it through the front door
"""
