"""How a stage becomes a program: its parameters are the options, its docstring is the help."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fastmask.errors import FastmaskError
from training.errors import StoppedError

# The options that several stages share.
RunFolder = Annotated[Path, typer.Argument(help="a folder begun by training.prepare", metavar="RUN")]
Treebank = Annotated[
    list[str] | None, typer.Option(help="a CoNLL-U file; several may be given; default: the project's own")
]
Heldout = Annotated[
    list[str] | None, typer.Option(help="a file to hold out, of the same kind; default: whole documents of the others")
]
Tokenizer = Annotated[str | None, typer.Option(help="by name or path; default: the teacher's, or trained on the text")]
MaxLength = Annotated[int, typer.Option(min=1, help="in tokens; longer examples are counted and left out")]
Dtype = Annotated[str, typer.Option(help="of the teacher's weights, such as bfloat16; auto: as they were saved")]
DeviceMap = Annotated[str | None, typer.Option(help="auto spreads the teacher over all devices; default: one device")]
Steps = Annotated[int, typer.Option(min=1, help="training steps")]
Penalty = Annotated[float, typer.Option(min=0, help="off the teacher's disallowed logits; 0 is plain, inf is allowed")]
OnPolicyMask = Annotated[
    float, typer.Option(min=0, help="weight of the mass that the student's own samples give to allowed tokens")
]
OnPolicyFrom = Annotated[
    float, typer.Option(min=0, max=1, help="the share of the steps behind which the student begins to sample")
]
Prompt = Annotated[
    str | None, typer.Option(help="what the teacher reads, or a file of it: a text with {input} and {schema}")
]
Chat = Annotated[bool, typer.Option("--chat", help="the prompt goes through the tokenizer's chat template")]
Samples = Annotated[int, typer.Option(min=1, help="sampled answers for each model, free and constrained")]
Seed = Annotated[int, typer.Option(help="decides split, weights, batches and samples")]
Accumulate = Annotated[int, typer.Option(min=1, help="batches a step, in each process")]
CheckpointEvery = Annotated[int, typer.Option(min=0, help="steps; 0: never, and what is killed is lost")]
KeepCheckpoint = Annotated[bool, typer.Option("--keep-checkpoint", help="the newest, when the model is finished")]
Restart = Annotated[bool, typer.Option("--restart", help="anew, whatever was begun or finished under this name")]


def layers_option(default: int) -> Any:
    return typer.Option(min=1, help="of a model from scratch", show_default=str(default))


def width_option(default: int) -> Any:
    said = "of a model from scratch: a multiple of 32, the width of a head"
    return typer.Option(min=1, help=said, show_default=str(default))


def program(stage: Callable) -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(stage)
    try:
        app()
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal)  # as the shell counts
    except (FastmaskError, OSError) as error:  # its message says what to do; a traceback would only hide it
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)  # as a wrong option
