"""What podman and containerd do with a runtime, case by case.

`place` makes namespaces, file systems and configurations; `doing` runs programs and compares what comes of them;
`podman` and `containerd` are the callers; `podman_*` and `containerd_*` hold the cases, by subject.
"""
