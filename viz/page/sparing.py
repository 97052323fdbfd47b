"""Blocks that build only what an answer changes."""

from __future__ import annotations

import copy
from typing import Any

import gradio as gr
from gradio.blocks import Block


class SparingBlocks(gr.Blocks):
    """Gradio's Blocks, which build anew with every answer each component that the listener could have changed.

    With the dozens of components of a listener here that held all other answers up for tens of milliseconds.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Return what the browser is sent for each output; nothing is built for one that stays as it is."""
        outputs = block_fn.outputs
        given = _given(predictions)
        if given is None or not set(given) < set(outputs):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = dict.fromkeys(outputs, gr.skip())
        if given:
            part = copy.copy(block_fn)
            part.outputs = list(given)
            changed |= zip(given, await super().postprocess_data(part, given, state), strict=True)
        return list(changed.values())


def _given(predictions: Any) -> dict[Block, Any] | None:
    """Return an answer's values by component; None where it is in another form."""
    if predictions == gr.skip():
        return {}
    by_component = isinstance(predictions, dict) and all(isinstance(key, Block) for key in predictions)
    return predictions if by_component else None
