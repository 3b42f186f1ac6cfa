"""One function for each operationId of `openapi.yaml`, named after it in snake_case.

A handler takes the service that it calls, by its type, and what else it renders; `principal`, except for open
operations; `body`, whose type lists its fields in snake_case; and the parameters of the operation in snake_case, ids of
users in lower case, `if_match` as the versions in it, with `**` those that it does not name. It calls the service once
and renders the result. `edge/binding.py` passes the arguments.
"""

from inspect import isfunction

from handlers import adoptions, audit, cleanup, console, devices, documents, health, keys, usage, users, workloads

HANDLERS = {
    name: function
    for module in (adoptions, audit, cleanup, console, devices, documents, health, keys, usage, users, workloads)
    for name, function in vars(module).items()
    if isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
}
"""The handlers by their names: every public function of a module, which has the name of its tag in the contract."""
