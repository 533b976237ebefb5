# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parameters that would be ignored without a word, and requests that would get no reply.

ROS 2 drops a value whose name no node declares, and a parameter file whose keys name another node.
Both look like success; so they are told.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import ParameterType, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_service import ParameterService

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_yaml

#: declared by rclpy itself, some only where they are set
_OF_RCLPY = ("use_sim_time", "start_type_description_service", "qos_overrides.")


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say about a name that is unknown: the known one that was probably meant."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        # Without its group: "z_min_m" for "lifting.z_min_m".
        last = {known_name.rpartition(".")[2]: known_name for known_name in reversed(names)}
        close = [
            last[match]
            for match in difflib.get_close_matches(
                name.rpartition(".")[2], list(last), n=1, cutoff=0.75
            )
        ]
    return f"did you mean '{close[0]}'?" if close else "see docs/parameters.md"


def unknown_overrides(node: Node) -> list[str]:
    """A warning for each value given at start that no parameter of the node took."""
    declared = set(node._parameters)
    return [
        f"the parameter '{name}' is unknown and was ignored; {nearest(name, declared)}"
        for name in sorted(node._parameter_overrides)
        if name not in declared and not name.startswith(_OF_RCLPY)
    ]


def unmatched_files(arguments: Sequence[str], node_name: str) -> list[str]:
    """A warning for each parameter file that has nothing for this node.

    Args:
        arguments: Command line of the process.
        node_name: Fully qualified name of the node.
    """
    warnings = []
    for flag, value in zip(arguments, arguments[1:], strict=False):
        if flag != "--params-file":
            continue
        try:
            content = read_yaml(Path(value))
        except ConfigurationError:
            continue  # rcl has read it, so it says what is wrong with it
        keys = list(_node_keys(content))
        if not any(_matches(key, node_name) for key in keys):
            named = ", ".join(f"'{key.lstrip('/')}'" for key in keys) or "no node"
            warnings.append(
                f"the parameter file {value} was ignored: it is for {named}, and this node is "
                f"'{node_name}'; use the key '/**' or '{node_name}'"
            )
    return warnings


def _node_keys(content: Any, prefix: str = "") -> Iterator[str]:
    """Full names of the nodes of a parameter file; namespaces may be keys of their own."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        name = f"{prefix}/{str(key).strip('/')}"
        if isinstance(value, dict) and "ros__parameters" in value:
            yield name
        elif isinstance(value, dict):
            yield from _node_keys(value, name)


def _matches(key: str, node_name: str) -> bool:
    """Whether a key with rcl's wildcards means a node."""
    return _match(key.strip("/").split("/"), node_name.strip("/").split("/"))


def _match(pattern: Sequence[str], name: Sequence[str]) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(_match(pattern[1:], name[i:]) for i in range(len(name) + 1))
    return bool(name) and pattern[0] in ("*", name[0]) and _match(pattern[1:], name[1:])


class CheckedParameterService(ParameterService):
    """rclpy's parameter services, with a reply to every request.

    rclpy raises within its callback where a value is of a type that it does not know; the caller
    then waits for ever.
    """

    def _set_parameters_callback(self, request: Any, response: Any) -> Any:
        response.results = [self._set([message]) for message in request.parameters]
        return response

    def _set_parameters_atomically_callback(self, request: Any, response: Any) -> Any:
        response.result = self._set(request.parameters)
        return response

    def _set(self, messages: Sequence[Any]) -> SetParametersResult:
        node = self._get_node()
        for message in messages:
            if not node.has_parameter(message.name):
                known = nearest(message.name, node._parameters)
                return _refused(node, f"there is no parameter '{message.name}'; {known}")
            if message.value.type not in _KNOWN_TYPES:
                return _refused(
                    node,
                    f"{message.name}: a value of type {message.value.type} is none of "
                    "rcl_interfaces/ParameterType",
                )
        try:
            return node.set_parameters_atomically(
                [Parameter.from_parameter_msg(message) for message in messages]
            )
        except Exception as error:  # whatever it is: without a reply the caller would hang
            return _refused(node, f"not accepted: {type(error).__name__}: {error}")


_KNOWN_TYPES = frozenset(
    getattr(ParameterType, name) for name in dir(ParameterType) if name.startswith("PARAMETER_")
)


def _refused(node: Node, reason: str) -> SetParametersResult:
    node.get_logger().warning(f"set_parameters: {reason}")
    return SetParametersResult(successful=False, reason=reason)
