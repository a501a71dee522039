"""What is wrong with a headless Service, and what to write instead: `peerdiscover doctor`.

The modules, from the top:

    _asking      asks about one Service, and puts together what is heard
    _dns, _api   nameservers; the API server
    _pods        a connection to each pod, and this pod
    _reading     manifests from files, folders and stdin
    _output      lines for people, JSON, SARIF                              pure
    _report      runs checks; what passed, and what could not be looked at  pure
    _names       checks of what DNS said                                    pure
    _reached     checks of the pods: who accepts, and which this one is     pure
    _services    checks of Services: whether headless, what they select     pure
    _ports       checks of their ports                                      pure
    _policies    checks of network policies                                 pure
    _rights      the check of rights                                        pure
    _workloads   checks of workloads: DNS, names, probes, how they start    pure
    _words       what a container's command says of us                      pure
    _world       what a check looks at                                      pure
    _codes       the 27 checks, in words                                    pure
    _objects     what follows from several Kubernetes objects               pure
    _object      one of them, and what is written in it                     pure
    _yaml        YAML as values of JSON                                     pure

Invariants:

* Checks know no socket and no file, so manifests and a cluster cannot be judged differently.
* A finding says what was seen, and is true as a sentence. What may not be read stands under "not checked":
  it never passes silently.
* Nothing is written, started or run: at most 20 questions a nameserver, one GET a kind (of EndpointSlices a
  second one if answers differ), and one connection a pod, a second one if the first failed.
"""
