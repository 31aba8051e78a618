"""From decisions to processes: submissions, arrays, profiles, what jobs leave for each other, what failures lead to.

`node/` is what a job does on its node, `site/` what is found out of a cluster. What is trained and stored is decided
elsewhere: cells come from `plan`, their folders from `store`, and torch is only in the processes that are started.
"""
