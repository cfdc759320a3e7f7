"""
``mutmut`` for this project: it also changes the functions that share a retry budget.

mutmut leaves decorated functions alone, since each changed copy of one is decorated, too. ``one_retry_budget`` does
nothing inside another one, so its functions can be changed; most requests are in them.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import libcst
from mutmut.__main__ import cli
from mutmut.mutation.file_mutation import MutationVisitor

DECORATOR = "one_retry_budget"

leaves_alone = MutationVisitor._skip_node_and_children


def leaves_alone_except_ours(self: MutationVisitor, node: libcst.CSTNode) -> Any:
    if isinstance(node, libcst.FunctionDef) and len(node.decorators) == 1:
        decorator = node.decorators[0].decorator
        if isinstance(decorator, libcst.Name) and decorator.value == DECORATOR:
            return False
    return leaves_alone(self, node)


if __name__ == "__main__":
    with patch.object(MutationVisitor, "_skip_node_and_children", leaves_alone_except_ours):
        cli()
