"""`onnxlens completion`: what makes a shell complete commands, methods, models and layers."""

from __future__ import annotations

import click

from ... import options
from ...console import say

VARIABLE = "_ONNXLENS_COMPLETE"  # as click names it; the script sets it


@options.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@options.debug
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes this command line.

    \b
    onnxlens completion bash >> ~/.bashrc
    onnxlens completion zsh >> ~/.zshrc
    onnxlens completion fish > ~/.config/fish/completions/onnxlens.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    root = ctx.find_root()
    for line in complete(root.command, {}, "onnxlens", VARIABLE).source().splitlines():
        say(line)
